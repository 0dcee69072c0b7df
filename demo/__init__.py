"""``make demo``: a build promoted under live terminals, and a bad one taken back by itself."""
