"""What a shared HTTP cache must do, seen from outside: a scripted origin, a raw client."""
