# Debian's PostgreSQL with the user and the paths of the image `postgres`; scripts/compose-check builds it.
ARG DEBIAN
FROM ${DEBIAN}
ARG POSTGRES
RUN groupmod -o -g 999 postgres && usermod -o -u 999 -g 999 postgres && install -d -o 999 -g 999 -m 1777 /var/lib/postgresql/data \
    && install -d -o 999 -g 999 -m 3777 /run/postgresql
ENV PG_MAJOR=${POSTGRES} PATH=/usr/lib/postgresql/${POSTGRES}/bin:/usr/sbin:/usr/bin:/sbin:/bin
COPY postgres-entrypoint.sh /usr/local/bin/postgres-entrypoint.sh
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/sh", "/usr/local/bin/postgres-entrypoint.sh"]
CMD ["postgres"]
