# The service alone, for a read-only file system and a user without rights: nothing is written but to /tmp.
# It listens to the network, so it starts only with a file that says who may call (docs/trust.md), here ./sitbone/clients.toml:
#   docker build --tag sitbone . && docker run --read-only --tmpfs /tmp --publish 8080:8080 \
#     --volume "$PWD/sitbone:/etc/sitbone:ro" --env SITBONE_CLIENTS=/etc/sitbone/clients.toml \
#     --env SITBONE_PUBLIC_BASE_URL=https://cds.example.org --env SITBONE_DRAFT=show sitbone
# To try it with made-up patients, in a browser at http://127.0.0.1:8080, and for no clients:
#   docker build --target demo --tag sitbone-demo . && docker run --publish 8080:8080 sitbone-demo

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/sitbone
COPY requirements.lock ./
RUN /opt/sitbone/bin/pip install --disable-pip-version-check --require-hashes -r requirements.lock
COPY pyproject.toml LICENSE NOTICE openapi.yaml ./
COPY cds_hooks cds_hooks
COPY service service
RUN /opt/sitbone/bin/pip install --disable-pip-version-check --no-deps --no-build-isolation .
# What installs packages is of use to nobody but an intruder in there.
RUN /opt/sitbone/bin/pip uninstall --yes setuptools pip

FROM python:3.13-slim AS service
COPY --from=build /opt/sitbone /opt/sitbone
ENV PATH=/opt/sitbone/bin:/usr/local/bin:/usr/bin:/bin
ENV SITBONE_HOST=0.0.0.0 PORT=8080 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A new volume begins as the folder that it covers, and the service keeps its databases in a folder of its own user alone.
RUN install --directory --owner=65532 --group=65532 --mode=700 /data
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + (os.environ.get('SITBONE_PORT') or os.environ['PORT']) + '/healthz', timeout=2)"]
ENTRYPOINT ["sitbone", "serve"]

FROM service AS demo
ENV SITBONE_DEMO=on

# What is built where no stage is named.
FROM service
