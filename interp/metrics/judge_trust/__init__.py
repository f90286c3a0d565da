"""How far a judge can be trusted: beside people, and beside itself."""
