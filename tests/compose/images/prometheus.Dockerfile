# Debian's Prometheus with the paths of the image `prom/prometheus`; scripts/compose-check builds it.
ARG DEBIAN
FROM ${DEBIAN}
RUN install -d -o 65534 -g 65534 /prometheus
ENTRYPOINT ["prometheus"]
