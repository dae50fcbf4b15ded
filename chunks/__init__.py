"""The bytes: cut, named, compressed, packed, planned. Pure: bytes in, bytes out."""
