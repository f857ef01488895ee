# Not built yet where this was written: no container engine there.
#   docker build -t semples .
#   docker build -t semples:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 .
#   docker run --rm -v "$PWD:/work" --shm-size 2g semples run folder --data photos --out run
ARG PYTHON=3.11
FROM python:${PYTHON}-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /opt/semples
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN pip install --no-cache-dir torch --index-url ${TORCH_INDEX} \
 && pip install --no-cache-dir '.[crf,coco,onnx]'
WORKDIR /work
ENTRYPOINT ["semples"]
