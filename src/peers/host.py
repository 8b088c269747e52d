"""Serves one library that is reached through Python: see protocol.rs for what is said.

Arguments: the library, the number of threads. Needs numpy and the library; onnxruntime and openvino also need onnx.
"""

import json
import os
import sys
import time

# The system ends this process with the suite's, by PR_SET_PDEATHSIG, also when it is stopped. Elsewhere the end of the input does.
if sys.platform == "linux":
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(ctypes.c_int(1), ctypes.c_ulong(signal.SIGKILL))
    # The suite may have ended before that call.
    if os.getppid() != int(os.environ.get("CONVROOF_PARENT", os.getppid())):
        sys.exit()

THREADS = int(sys.argv[2])
CORES = [int(c) for c in os.environ.get("CONVROOF_CORES", "").split(",") if c]
if CORES and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, CORES)

import numpy as np

# Libraries print as they like: what they print must not get into the protocol.
INPUT, OUTPUT = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)


class Refused(Exception):
    pass


def onnx_layer(l, x, z, y, weights, bias):
    """The nodes and constants that compute a layer: of tensor x, to tensor y, adding tensor z."""
    from onnx import helper, numpy_helper

    window = dict(kernel_shape=l["kernel"], strides=l["stride"], dilations=l["dilation"])
    if l["op"] == "max":
        return [helper.make_node("MaxPool", [x], [y], pads=l["pad"], ceil_mode=int(l["ceil"]), **window)], []
    if l["op"] in ("avg_np", "avg_p"):
        counted = int(l["op"] == "avg_p")
        return [helper.make_node("AveragePool", [x], [y], pads=l["pad"], ceil_mode=int(l["ceil"]), count_include_pad=counted, **window)], []
    if l["op"] == "softmax":
        return [helper.make_node("Softmax", [x], [y], axis=1)], []
    if l["op"] == "lrn":
        size, alpha, beta, k = l["lrn"]
        return [helper.make_node("LRN", [x], [y], size=size, alpha=alpha, beta=beta, bias=k)], []
    shape = [l["c_out"], l["c_in"] // l["groups"], *l["kernel"]]
    constants = [numpy_helper.from_array(weights.reshape(shape).copy(), f"{y}.w")]
    names = [x, f"{y}.w"]
    if l["bias"]:
        constants.append(numpy_helper.from_array(bias.copy(), f"{y}.b"))
        names.append(f"{y}.b")
    steps = ["Conv"] + ["Add"] * l["residual"] + ["Relu"] * l["relu"]
    values = [f"{y}.{i}" for i in range(len(steps) - 1)] + [y]
    nodes = [helper.make_node("Conv", names, [values[0]], pads=l["pad"], group=l["groups"], **window)]
    if l["residual"]:
        nodes.append(helper.make_node("Add", [values[0], z], [values[1]]))
    if l["relu"]:
        nodes.append(helper.make_node("Relu", [values[-2]], [y]))
    return nodes, constants


def onnx_model(l, weights, bias):
    """A layer and what its epilogue adds, or a network of layers, as an ONNX model."""
    from onnx import TensorProto, helper

    def info(name, *keys):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [l[k] for k in keys])

    image = info("x", "n", "c_in", "h", "w")
    out = info("y", "n", "c_out", "h_out", "w_out")
    inputs = [image] + [info("z", "n", "c_out", "h_out", "w_out")] * l["residual"]
    if l["op"] != "network":
        nodes, constants = onnx_layer(l, "x", "z", "y", weights, bias)
    else:
        nodes, constants = [], []
        names = ["x"] + [f"t{i}" for i in range(len(l["nodes"]) - 1)] + ["y"]
        for node, y in zip(l["nodes"], names[1:]):
            own, weights = weights[: node["weights"]], weights[node["weights"] :]
            shift, bias = bias[: node["bias"]], bias[node["bias"] :]
            xs = [names[i] for i in node["inputs"]]
            if node["layer"] is None:
                nodes.append(helper.make_node("Concat", xs, [y], axis=1))
                continue
            z = None if node["residual"] is None else names[node["residual"]]
            some, more = onnx_layer(node["layer"], xs[0], z, y, own, shift)
            nodes += some
            constants += more
    graph = helper.make_graph(nodes, "layer", inputs, [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return model.SerializeToString()


class OnnxRuntime:
    """A model of one node (and what the epilogue adds, which the library fuses), or of a network, through I/O binding.
    Activations enter and leave as NCHW: reorders that the library makes for itself are in its time."""

    def __init__(self):
        import onnxruntime

        self.lib = onnxruntime

    def hello(self):
        return "ONNX Runtime", self.lib.__version__

    def plan(self, layer, form):
        return OnnxPlan(self.lib, layer)


class OnnxPlan:
    implementation = "one-node model"

    def __init__(self, lib, layer):
        self.lib, self.layer, self.session = lib, layer, None

    def packed_bytes(self):
        return 0

    def load(self, src, weights, bias, residual):
        if self.session is None or weights.size:
            self.session = self.make(weights, bias)
            self.binding = self.io_binding()
            shape = [self.layer[k] for k in ("n", "c_out", "h_out", "w_out")]
            self.y = np.zeros(shape, np.float32)
            self.bind_output()
        l = self.layer
        self.keep = [np.ascontiguousarray(src.reshape(l["n"], l["c_in"], l["h"], l["w"]))]
        self.bind("x", self.keep[0])
        if l["residual"]:
            self.keep.append(np.ascontiguousarray(residual.reshape(self.y.shape)))
            self.bind("z", self.keep[1])

    def io_binding(self):
        return self.session.io_binding()

    def bind(self, name, array):
        self.binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def bind_output(self):
        self.binding.bind_output("y", "cpu", 0, np.float32, self.y.shape, self.y.ctypes.data)

    def make(self, weights, bias):
        options = self.lib.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.inter_op_num_threads = 1
        if THREADS > 1:
            # One core for each thread but the calling one, counted from 1.
            options.add_session_config_entry("session.intra_op_thread_affinities", ";".join(str(c + 1) for c in CORES[1:]))
        return self.lib.InferenceSession(onnx_model(self.layer, weights, bias), options, providers=["CPUExecutionProvider"])

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def poison(self):
        self.y.fill(np.nan)

    def output(self):
        return self.y


class OpenVino:
    """The same models; the plugin is told to compute in f32, since it may choose bf16 by itself."""

    def __init__(self):
        import openvino

        self.lib = openvino

    def hello(self):
        return "OpenVINO", self.lib.__version__.split("-")[0]

    def plan(self, layer, form):
        return OpenVinoPlan(self.lib, layer)


class OpenVinoPlan(OnnxPlan):
    implementation = "OpenVINO's choice"

    def make(self, weights, bias):
        core = self.lib.Core()
        model = core.read_model(model=onnx_model(self.layer, weights, bias))
        settings = {"INFERENCE_NUM_THREADS": THREADS, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        return core.compile_model(model, "CPU", settings)

    def io_binding(self):
        self.bound = {}
        return self.session.create_infer_request()

    def bind(self, name, array):
        # It takes no memory that it may not write, and keeps none alive: what came by the pipe is copied, and the copy kept.
        self.bound[name] = np.require(array, requirements="W")
        self.binding.set_tensor(name, self.lib.Tensor(self.bound[name], shared_memory=True))

    def bind_output(self):
        self.bind("y", self.y)

    def run(self):
        self.binding.infer()


class Ncnn:
    """A net of one layer; fp16, bf16 and their storage off. Blobs enter and leave as planes."""

    def __init__(self):
        import ncnn

        self.lib = ncnn

    def hello(self):
        return "ncnn", self.lib.__version__

    def plan(self, layer, form):
        if layer["n"] != 1:
            raise Refused("one image at a time")
        if layer["residual"]:
            raise Refused("no fused residual")
        if layer["op"] != "conv" and (layer["dilation"] != [1, 1]):
            raise Refused("no dilated pooling")
        return NcnnPlan(self.lib, layer)


class NcnnPlan:
    implementation = "ncnn's choice"

    def __init__(self, lib, layer):
        self.lib, self.layer, self.net = lib, layer, None

    def packed_bytes(self):
        return 0

    def load(self, src, weights, bias, residual):
        if self.net is None or weights.size:
            self.net = self.make(weights, bias)
        l = self.layer
        self.x = self.lib.Mat(np.ascontiguousarray(src.reshape(l["c_in"], l["h"], l["w"]))).clone()
        self.y = None

    def make(self, weights, bias):
        import tempfile

        l, lib = self.layer, self.lib
        top, left, bottom, right = l["pad"]
        kh, kw = l["kernel"]
        if l["op"] == "conv":
            p = {0: l["c_out"], 1: kw, 11: kh, 2: l["dilation"][1], 12: l["dilation"][0], 3: l["stride"][1], 13: l["stride"][0]}
            p |= {4: left, 15: right, 14: top, 16: bottom, 5: int(l["bias"]), 6: weights.size}
            kind = "Convolution"
            if l["groups"] > 1:
                kind, p[7] = "ConvolutionDepthWise", l["groups"]
            if l["relu"]:
                p[9] = 1
        else:
            kind = "Pooling"
            p = {0: 0 if l["op"] == "max" else 1, 1: kw, 11: kh, 2: l["stride"][1], 12: l["stride"][0]}
            p |= {3: left, 14: right, 13: top, 15: bottom, 5: 0 if l["ceil"] else 1, 6: int(l["op"] == "avg_p")}
        fields = " ".join(f"{k}={v}" for k, v in p.items())
        text = f"7767517\n2 2\nInput x 0 1 x\n{kind} layer 1 1 x y {fields}\n"
        net = lib.Net()
        net.opt.num_threads = THREADS
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_storage = False
        with tempfile.TemporaryDirectory() as folder:
            param, model = os.path.join(folder, "p"), os.path.join(folder, "b")
            with open(param, "w") as f:
                f.write(text)
            with open(model, "wb") as f:
                if l["op"] == "conv":
                    f.write(b"\0\0\0\0" + weights.tobytes() + bias.tobytes())
            if net.load_param(param) or net.load_model(model):
                raise Refused("it doesn't load the layer")
        return net

    def run(self):
        extractor = self.net.create_extractor()
        extractor.input("x", self.x)
        code, self.y = extractor.extract("y")
        if code:
            raise RuntimeError(f"extract returns {code}")

    def poison(self):
        # The output is new memory in each run.
        self.y = None

    def output(self):
        return np.array(self.y, np.float32)


class Mnn:
    """A model of one node, converted by the library's own converter through its C entry point (its command
    asks for a package and calls home). Precision is high. Planes in and out: reorders are in its time."""

    def __init__(self):
        import MNN

        self.lib = MNN

    def hello(self):
        return "MNN", self.lib.version()

    def plan(self, layer, form):
        if layer["residual"]:
            raise Refused("one input at a time")
        return MnnPlan(self.lib, layer)


class MnnPlan:
    implementation = "MNN's choice"

    def __init__(self, lib, layer):
        self.lib, self.layer, self.session = lib, layer, None

    def packed_bytes(self):
        return 0

    def load(self, src, weights, bias, residual):
        import tempfile

        import _tools

        lib, l = self.lib, self.layer
        if self.session is None or weights.size:
            with tempfile.TemporaryDirectory() as folder:
                onnx, mnn = os.path.join(folder, "m.onnx"), os.path.join(folder, "m.mnn")
                with open(onnx, "wb") as f:
                    f.write(onnx_model(l, weights, bias))
                _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", onnx, "--MNNModel", mnn, "--bizCode", "layer"])
                if not os.path.exists(mnn):
                    raise Refused("its converter takes no such layer")
                self.net = lib.Interpreter(mnn)
            self.session = self.net.createSession({"backend": "CPU", "precision": "high", "numThread": THREADS})
        shape = (l["n"], l["c_in"], l["h"], l["w"])
        self.data = src.reshape(shape).copy()
        self.x = lib.Tensor(shape, lib.Halide_Type_Float, self.data, lib.Tensor_DimensionType_Caffe)

    def run(self):
        # A session uses its input's memory again for what comes after: it must be given anew.
        self.net.getSessionInput(self.session).copyFrom(self.x)
        if self.net.runSession(self.session):
            raise RuntimeError("runSession fails")

    def poison(self):
        nothing = np.full(self.shape(), np.nan, np.float32)
        self.result().copyFrom(self.host(nothing))

    def shape(self):
        return tuple(self.layer[k] for k in ("n", "c_out", "h_out", "w_out"))

    def host(self, data):
        return self.lib.Tensor(self.shape(), self.lib.Halide_Type_Float, data, self.lib.Tensor_DimensionType_Caffe)

    def result(self):
        return self.net.getSessionOutput(self.session)

    def output(self):
        memory = np.zeros(self.shape(), np.float32)
        y = self.host(memory)
        self.result().copyToHostTensor(y)
        return np.array(y.getNumpyData(), np.float32).reshape(self.shape())


LIBRARIES = {"mnn": Mnn, "onnxruntime": OnnxRuntime, "openvino": OpenVino, "ncnn": Ncnn}


def send(message, floats=None):
    OUTPUT.write(json.dumps(message).encode() + b"\n")
    if floats is not None:
        OUTPUT.write(floats.tobytes())
    OUTPUT.flush()


def floats(count):
    return np.frombuffer(INPUT.read(4 * count), np.float32)


def answer(library, plans, request):
    do = request["do"]
    if do in ("plan", "network"):
        layer = request["layer"] | {k: request[k] for k in request if k == "nodes"}
        shapes = [layer] + [node["layer"] for node in layer.get("nodes", []) if node["layer"]]
        # Only layers of other types have the field.
        if any(shape.get("dt") for shape in shapes):
            raise Refused("measured in f32 only")
        if layer["op"] in ("network", "lrn", "softmax") and not isinstance(library, (OnnxRuntime, OpenVino)):
            raise Refused("convolutions and poolings only")
        plan = library.plan(layer, request.get("form"))
        plans.append(plan)
        return {"is": "planned", "implementation": plan.implementation, "packed_bytes": plan.packed_bytes(), "workspace_bytes": 0}, None
    if do == "clear":
        plans.clear()
        return {"is": "done"}, None
    plan = plans[request["plan"]]
    if do == "load":
        plan.load(*(floats(request[k]) for k in ("src", "weights", "bias", "residual")))
        return {"is": "done"}, None
    if do == "time":
        plan.run()
        plan.poison()
        start = time.perf_counter_ns()
        for _ in range(request["runs"]):
            plan.run()
        return {"is": "took", "ns": float(time.perf_counter_ns() - start)}, None
    output = np.ascontiguousarray(plan.output(), np.float32)
    return {"is": "output", "len": int(output.size)}, output


def main():
    try:
        library = LIBRARIES[sys.argv[1]]()
        name, version = library.hello()
    except Exception as error:
        send({"is": "failed", "reason": f"{type(error).__name__}: {error}"})
        return
    send({"is": "hello", "library": name, "version": version, "threads": THREADS})
    plans = []
    for line in iter(INPUT.readline, b""):
        try:
            reply, data = answer(library, plans, json.loads(line))
        except Refused as error:
            reply, data = {"is": "refused", "reason": str(error)}, None
        except Exception as error:
            reply, data = {"is": "failed", "reason": f"{type(error).__name__}: {error}"}, None
        send(reply, data)


main()
