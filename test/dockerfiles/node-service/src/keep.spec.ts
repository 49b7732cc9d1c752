// Kept by an exception.
