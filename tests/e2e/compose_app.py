"""An application of docker-compose for the tests: six services, two networks, a named volume."""

from registry_image import IMAGE

FILE = f"""
version: "2.4"
x-service: &service
  image: {IMAGE}
  init: true
services:
  db:
    <<: *service
    command: [sh, -c, "[ -e /data/row ] || echo stored > /data/row; sleep 1; exec httpd -f -p 5432 -h /data"]
    volumes: ["dbdata:/data"]
    env_file: [db.env]
    networks: {{back: {{ipv4_address: 10.231.7.77, aliases: [database]}}}}
    healthcheck: {{test: [CMD, wget, -q, -O-, "http://localhost:5432/row"], interval: 200ms, timeout: 5s, retries: 50}}
  cache:
    <<: *service
    command: sleep 100000
    environment: {{GREETING: "${{GREETING:-hello}}"}}
    networks: [back]
    tmpfs: ["/scratch:size=1m"]
    volumes: ["/kept"]
    cap_drop: [ALL]
    read_only: true
    mem_limit: 64m
  web:
    <<: *service
    command:
      - sh
      - -c
      - mkdir /tmp/www; wget -q -O /tmp/www/index.html http://database:5432/row; cp /etc/web.conf /tmp/www;
        exec httpd -f -p 8080 -h /tmp/www
    ports: ["127.0.0.1:18080:8080", "18090-18092:9090-9092", "18093:5353/udp"]
    networks: [front, back]
    volumes: ["./web.conf:/etc/web.conf:ro"]
    extra_hosts: ["outside:192.0.2.7"]
    depends_on: {{db: {{condition: service_healthy}}, cache: {{condition: service_started}}}}
    links: ["db:store"]
  worker:
    <<: *service
    command: [sh, -c, "while wget -q -O- http://web:8080/ || wget -q -O- http://web:8080/; do sleep 1; done"]
    networks: [back]
    restart: on-failure:5
    depends_on: [web]
  flaky:
    <<: *service
    init: false
    command: [sh, -c, "[ `cat /state/runs | wc -l` -lt 2 ] || exec sleep 100000; echo >> /state/runs; exit 3"]
    volumes: ["/state"]
    networks: [back]
    restart: on-failure
    stop_signal: SIGKILL
  proxy:
    <<: *service
    network_mode: "service:web"
    command: httpd -f -p 9090 -h /www
    depends_on: [web]
networks:
  front:
  back: {{ipam: {{config: [{{subnet: 10.231.7.0/24}}]}}}}
volumes: {{dbdata: {{labels: {{kind: data}}}}}}
"""


class Compose:
    """Debian's docker-compose with the project `shop` in `directory`, in the daemon's network namespace."""

    def __init__(self, daemon, directory):
        self._daemon, self._directory = daemon, directory
        (directory / "docker-compose.yml").write_text(FILE)
        (directory / "db.env").write_text("FROM_FILE=yes\n")
        (directory / "web.conf").write_text("a setting\n")

    def __call__(self, *arguments, expect=0, **environment):
        """Standard output, then standard error."""
        # docker-compose 1.29 wants fields of an image that Docker stopped to tell with API 1.45.
        variables = [f"DOCKER_HOST={self._daemon.host}", "COMPOSE_API_VERSION=1.44", "COLUMNS=250"]
        variables += [f"{name}={value}" for name, value in environment.items()]
        command = [
            "docker-compose",
            "--ansi",
            "never",
            "-p",
            "shop",
            "--project-directory",
            str(self._directory),
        ]
        command += ["-f", str(self._directory / "docker-compose.yml"), *arguments]
        done = self._daemon.lab.run("env", *variables, *command)
        out, err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == expect, (arguments, done.returncode, out, err)
        return out + err

    def container(self, service, number=1):
        """What inspect says of a service's container."""
        return self._daemon.json("GET", f"/containers/shop_{service}_{number}/json")

    def running(self):
        """The names of the running containers."""
        return sorted(
            one["Names"][0].removeprefix("/shop_") for one in self._daemon.json("GET", "/containers/json")
        )
