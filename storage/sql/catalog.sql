-- The tables of the catalogue. All of them are derived from manifests and run records.
CREATE TABLE artifacts (
    stage VARCHAR NOT NULL,
    artifact VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    content VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL, -- UTC
    committed_at TIMESTAMP NOT NULL, -- UTC; later than created_at where equal content came again
    rows BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    wall_seconds DOUBLE NOT NULL,
    device VARCHAR NOT NULL,
    recipe VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    code_revision VARCHAR NOT NULL,
    code_dirty BOOLEAN,
    path VARCHAR NOT NULL
);

CREATE TABLE artifact_inputs (
    stage VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    content VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    input_stage VARCHAR NOT NULL,
    input_key VARCHAR NOT NULL,
    input_content VARCHAR NOT NULL
);

CREATE TABLE parts (
    stage VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    content VARCHAR NOT NULL,
    table_name VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    rows BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 VARCHAR NOT NULL,
    path VARCHAR NOT NULL
);

CREATE TABLE shards (
    stage VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    content VARCHAR NOT NULL,
    shard BIGINT NOT NULL,
    rows BIGINT NOT NULL, -- of all tables
    started_at TIMESTAMP, -- UTC
    seconds DOUBLE, -- what was read, loaded and computed; not what was written
    model_seconds DOUBLE, -- of them those in the model, at the end
    device VARCHAR
);

CREATE TABLE reasons (
    stage VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    content VARCHAR NOT NULL,
    table_name VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    count BIGINT NOT NULL
);

CREATE TABLE runs (
    run_id VARCHAR NOT NULL,
    recipe VARCHAR NOT NULL,
    started_at TIMESTAMP NOT NULL, -- UTC
    status VARCHAR NOT NULL
);

CREATE TABLE run_stages (
    run_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    content VARCHAR NOT NULL
);

CREATE TABLE latest (
    recipe VARCHAR NOT NULL,
    table_name VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    content VARCHAR NOT NULL,
    shown BOOLEAN NOT NULL -- by the view that has the table's plain name
);

CREATE TABLE identities (
    stage VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    identity JSON NOT NULL
);
