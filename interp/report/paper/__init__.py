"""What the paper shows, made from a study: a function for each table and figure."""
