"""How fast the service answers, beside a bare Flask + orjson echo under the same server settings: ``make bench``."""
