"""How fast the service answers, beside a bare Flask + orjson app under the same server settings: ``make bench``."""
