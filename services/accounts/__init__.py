"""Accounts: who publishes here, and what each of them was granted."""
