"""What finished runs get wrong, how sure they are, and what they look at."""
