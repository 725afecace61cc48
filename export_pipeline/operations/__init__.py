"""What an operator needs: maintenance, alerts, and the state of everything."""
