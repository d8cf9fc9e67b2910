"""Fused training steps against what a user could pick instead."""
