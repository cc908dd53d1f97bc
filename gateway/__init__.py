"""The gateway: connections that providers want to be asked over, rather than post to."""
