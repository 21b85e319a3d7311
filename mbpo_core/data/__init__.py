"""Reading of conversations and images into samples."""
