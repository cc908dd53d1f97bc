"""A runner's work: sandboxes kept warm, and the calls that run in them."""
