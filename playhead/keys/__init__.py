"""The platform's keys: where they are, how they are made, changed and looked after."""
