"""Session engines: the settings of Django and, beside them, the options of djaffar."""

ENGINE = "django.contrib.sessions.backends."
REDIS = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
COMPRESSORS = {
    "zlib": "zlib.ZlibCompressor",
    "gzip": "gzip.GzipCompressor",
    "lzma": "lzma.LzmaCompressor",
    "zstd": "zstd.ZStdCompressor",
    "lz4": "lz4.Lz4Compressor",
}
NAMES = [
    "cached_db",
    "file",
    "signed_cookies",
    "redis",
    "redis-prefix",
    "django-redis",
    "django-redis-json",
    *("django-redis-" + name for name in COMPRESSORS),
]


def cache(backend, location, options=None, **more):
    return {"default": {"BACKEND": backend, "LOCATION": location, "OPTIONS": options or {}, **more}}


def engine(name, folder, redis):
    """Django's settings and djaffar's options for an engine; `redis()` gives the server."""
    if name == "cached_db":
        locmem = "django.core.cache.backends.locmem.LocMemCache"
        settings = {"SESSION_ENGINE": ENGINE + "cached_db", "CACHES": cache(locmem, "sessions")}
        return settings, ["--session-engine=cached_db"]
    if name == "file":
        path = folder / "sessions"
        path.mkdir(exist_ok=True)
        settings = {"SESSION_ENGINE": ENGINE + "file", "SESSION_FILE_PATH": str(path)}
        return settings, ["--session-engine=file", "--session-file-path=%s" % path]
    if name in ("signed_cookies", "db"):
        return {"SESSION_ENGINE": ENGINE + name}, ["--session-engine=" + name]
    # Each a database of its own.
    url = "%s/%d" % (redis().url, NAMES.index(name))
    options = ["--session-engine=cache", "--session-cache=" + url]
    if name == "redis":
        caches = cache(REDIS, url)
    elif name == "redis-prefix":
        caches = cache(REDIS, [url, url], KEY_PREFIX="shop", VERSION=3)
        options.append("--session-cache-prefix=shop:3:")
    elif name == "django-redis":
        caches = cache(DJANGO_REDIS, url)
    elif name == "django-redis-json":
        serializer = "django_redis.serializers.json.JSONSerializer"
        caches = cache(DJANGO_REDIS, url, {"SERIALIZER": serializer})
        options.append("--session-serializer=json")
    else:
        compressor = COMPRESSORS[name.removeprefix("django-redis-")]
        compressor = "django_redis.compressors." + compressor
        caches = cache(DJANGO_REDIS, url, {"COMPRESSOR": compressor})
    return {"SESSION_ENGINE": ENGINE + "cache", "CACHES": caches}, options
