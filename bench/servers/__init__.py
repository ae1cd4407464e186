"""One server a peer, each as short as its own documentation writes it; started as `python servers/NAME.py … PORT`."""
