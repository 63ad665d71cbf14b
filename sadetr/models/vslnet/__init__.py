"""VSLNet (Zhang, Sun, Jing, Zhou, ACL 2020)."""
