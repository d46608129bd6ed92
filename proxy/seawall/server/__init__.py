"""What agents and operators connect to: the HTTP/1.1 ingress on llhttp, and the admin server on aiohttp."""
