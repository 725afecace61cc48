"""What an event is: catalogue, derived schemas, and a realistic sample."""
