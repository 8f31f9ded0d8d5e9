# eva in a container, from its wheel:  docker build -t eva .  and for CPUs:  docker build --build-arg TORCH=cpu -t eva:cpu .
# With CUDA the libraries come with torch; the host needs its driver and the NVIDIA container toolkit alone.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY configs ./configs
COPY leaderboard ./leaderboard
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:${PYTHON}-slim
# cuda: torch as PyPI has it; cpu: the small build, from the index that PyTorch keeps for it
ARG TORCH=cuda
# more packages; ray[default] is for boards over a cluster
ARG WITH="ray[default]>=2.40"
ARG UID=1000

# wget: KubeRay asks with it whether a node is well
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*

COPY install/cpu_torch.py /source/install/
COPY pyproject.toml /source/
COPY --from=wheel /wheel /wheel
ENV PIP_NO_CACHE_DIR=1
# the newest that pyproject.toml admits
# hadolint ignore=DL3013
RUN case "${TORCH}" in \
      cpu) python /source/install/cpu_torch.py https://download.pytorch.org/whl/cpu ;; \
      cuda) ;; \
      *) echo "Expected TORCH=cuda or TORCH=cpu, but got TORCH=${TORCH}." >&2; exit 1 ;; \
    esac \
    && pip install /wheel/*.whl ${WITH:+"${WITH}"} \
    && rm -r /wheel /source \
    && useradd --create-home --uid "${UID}" eva \
    && mkdir -p /data /cache /work \
    && chown eva /cache /work

USER ${UID}
ENV DATA_ROOT=/data EVA_CACHE=/cache HF_HOME=/cache/huggingface MPLBACKEND=Agg
WORKDIR /work
ENTRYPOINT ["eva"]
CMD ["--help"]
