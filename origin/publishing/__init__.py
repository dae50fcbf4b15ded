"""Publishing as a service: what publishers that are elsewhere may read, store and delete here."""
