"""What tests share: servers, waiting, samples, and the checks that run after them."""
