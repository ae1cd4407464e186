"""Classic protocols, each a file, on the public names of trews only: what is here, a program could have."""
