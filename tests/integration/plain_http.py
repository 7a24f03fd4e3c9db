"""What httpx is told where nothing is encrypted."""

# With `verify` it reads all of the system's authorities for each client: 27 ms of computing.
PLAIN_HTTP = {"trust_env": False, "verify": False}
