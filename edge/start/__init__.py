"""The start call: all that a console asks for at first, in one answer."""
