"""One corpus of requests and answers, made by a grammar, past longwire, nginx and HAProxy: what differs is decided."""
