"""What several test packages need: a real running stack of services."""
