"""The attack against those of torchattacks and foolbox, on a classifier that all three can take.

Both keep their images as floats and so stay within rounding of the lattice; ours is on it. Without
a random start all three are deterministic and must end on the same image.
"""

import warnings

import pytest
import torch
from torch import nn

from mbpo_core.mining.attack import mine_pgd
from mbpo_core.mining.pgd import PGD, pgd
from mbpo_core.mining.png import decode_png

with warnings.catch_warnings():
    # foolbox imports names from where scipy no longer wants them.
    warnings.filterwarnings("ignore", ".*scipy.*namespace is deprecated", DeprecationWarning)
    foolbox = pytest.importorskip(
        "foolbox",
        reason="foolbox is a test dependency (pip install -e '.[test]') and needs a git command",
        exc_type=ImportError,
    )
torchattacks = pytest.importorskip(
    "torchattacks",
    reason="torchattacks is a test dependency without its own (it asks for torchvision): "
    "make install",
)

CLASSES, COUNT, SIZE = 5, 6, 12
BUDGETS = [(8, 2, 10), (16, 4, 20), (8, 3, 5), (2, 4, 3), (255, 4, 20)]


@pytest.fixture(scope="module")
def classifier():
    """A smooth network: the sign of its gradient does not hang on the last bit of a pixel."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(16 * (SIZE // 4) ** 2, CLASSES),
    ]
    return nn.Sequential(*layers).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images():
    """Uint8 images, a third of the pixels on the edge of the range."""
    generator = torch.Generator().manual_seed(1)
    levels = torch.randint(-128, 384, (COUNT, 3, SIZE, SIZE), generator=generator)
    return levels.clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def labels():
    return torch.arange(COUNT) % CLASSES


def ours(classifier, images, labels, budget, sign=1):
    epsilon, step, steps = budget

    def logp(points):
        return sign * classifier(torch.stack(points)).log_softmax(-1)[range(COUNT), labels]

    config = PGD(epsilon=epsilon / 255, step_size=step / 255, steps=steps)
    results = pgd(logp, list(images), config)
    assert all(result.status == "ok" for result in results)
    return torch.stack([result.adversarial for result in results])


def of_torchattacks(classifier, images, labels, budget, targeted=False):
    epsilon, step, steps = budget
    attack = torchattacks.PGD(
        classifier, eps=epsilon / 255, alpha=step / 255, steps=steps, random_start=False
    )
    if targeted:
        attack.set_mode_targeted_by_label(quiet=True)
    return attack(images / 255, labels)


def of_foolbox(classifier, images, labels, budget, targeted=False):
    epsilon, step, steps = budget
    attack = foolbox.attacks.LinfProjectedGradientDescentAttack(
        abs_stepsize=step / 255, steps=steps, random_start=False
    )
    criterion = (
        foolbox.criteria.TargetedMisclassification if targeted else foolbox.Misclassification
    )
    model = foolbox.PyTorchModel(classifier, bounds=(0, 1), device="cpu")
    return attack(model, images / 255, criterion(labels), epsilons=epsilon / 255)[0]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("library", [of_torchattacks, of_foolbox])
def test_the_same_image_in_one_shot(classifier, images, labels, library, budget):
    found = ours(classifier, images, labels, budget)
    expected = library(classifier, images, labels, budget)
    torch.testing.assert_close(found / 255, expected, rtol=0, atol=1e-5)
    assert torch.equal(found, (expected * 255).round().to(torch.uint8))
    assert (found.int() - images.int()).abs().max() == min(budget[0], budget[1] * budget[2])


@pytest.mark.parametrize("library", [of_torchattacks, of_foolbox])
def test_raising_a_log_probability_is_their_targeted_attack(classifier, images, labels, library):
    """The other sign: towards a class that the classifier does not see."""
    budget, wanted = (8, 2, 10), (labels + 2) % CLASSES
    found = ours(classifier, images, wanted, budget, sign=-1)
    expected = library(classifier, images, wanted, budget, targeted=True)
    assert torch.equal(found, (expected * 255).round().to(torch.uint8))
    assert not torch.equal(found, ours(classifier, images, wanted, budget))


class ResponseOrNot(nn.Module):
    """A policy as a classifier of images: class 0 is the response, class 1 is any other."""

    def __init__(self, policy, row):
        super().__init__()
        self.model = policy.model
        self.policy, self.row = policy, row

    def forward(self, images):
        arguments = [self.row.prompt], [self.row.response]
        logp = torch.stack([self.policy.token_logps(*arguments, [x])[0].sum() for x in images])
        return torch.stack([logp, torch.log1p(-logp.exp())], dim=1)


@pytest.mark.parametrize("library", [of_torchattacks, of_foolbox])
def test_the_same_image_through_a_policy(tiny_policy, tiny_rows, library):
    """Their pixels differ from the lattice by rounding, so a gradient near 0 may turn its sign."""
    budget = (8, 2, 5)
    config = PGD(epsilon=8 / 255, step_size=2 / 255, steps=5)
    for row, mined in zip(tiny_rows, mine_pgd(tiny_policy, tiny_rows, config), strict=True):
        with tiny_policy.frozen():
            expected = library(
                ResponseOrNot(tiny_policy, row).eval(), row.image[None], torch.tensor([0]), budget
            )
        same = decode_png(mined.png) == (expected[0] * 255).round().to(torch.uint8)
        assert same.float().mean() > 0.99
