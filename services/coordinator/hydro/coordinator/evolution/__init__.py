"""Population-based training: members that fall behind go on from better ones."""
