"""Makes the corpus that our own programs do not write (seeds.rs makes the rest): what others write, and what nobody
should. `good-*` has to be read, `bad-*` refused; of other names either will do, so long as the parser lives. What ends
in `.packed` is gzipped to be small here, and given to the parser unpacked. `json`, `toml`, `tensors` and `pictures` are
for several targets. Plain Python 3 without packages; makes the same bytes each time.

    python3 crates/mnist-train/tests/hostile/corpus/make.py
"""

import gzip
import json
import struct
import zlib
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

HERE = Path(__file__).parent


def put(target, name, content):
    content = content.encode() if isinstance(content, str) else content
    folder = HERE / target
    folder.mkdir(exist_ok=True)
    packed = gz(content)
    if len(packed) * 2 < len(content) and len(content) > 1000:
        name, content = f"{name}.packed", packed
    (folder / name).write_bytes(content)


def gz(content):
    return gzip.compress(content, mtime=0)


# IDX: four files of six images of 5 x 4, as in data.rs.


def idx(dims, data, kind=8):
    return struct.pack(f">BBBB{len(dims)}I", 0, 0, kind, len(dims), *dims) + bytes(data)


pixels = [i * 7 % 251 for i in range(120)]
images, labels = idx([6, 5, 4], pixels), idx([6], [0, 1, 0, 1, 1, 0])
for target, whole, first in [("images", images, 6), ("labels", labels, 6)]:
    put(target, "good-plain", whole)
    put(target, "good-gzip", gz(whole))
    put(target, "good-two-members", gz(whole[:9]) + gz(whole[9:]))
    put(target, "bad-empty", b"")
    put(target, "bad-cut", whole[:-1])
    put(target, "bad-cut-header", whole[:6])
    put(target, "bad-more", whole + b"\0")
    put(target, "bad-gzip-cut", gz(whole)[:-6])
    put(target, "bad-gzip-sum", gz(whole)[:-5] + b"\1\0\0\0\0")
    put(target, "bad-gzip-then-noise", gz(whole) + b"noise")
    put(target, "bad-floats", idx([first], [0] * first, 0x0D))
    put(target, "bad-gigabytes", idx([0xFFFFFFFF], b""))
    put(target, "bad-overflow", idx([0xFFFFFFFF] * 255, b""))
    put(target, "bad-gzip-gigabytes", gz(idx([0x7FFFFFFF, 28, 28], bytes(2000))))
    put(target, "bad-bomb", gz(idx([6, 5, 4], bytes(4 << 20))))
    put(target, "bad-no-dimension", idx([], b""))
put("images", "bad-none", idx([0, 5, 4], b""))
put("images", "bad-no-columns", idx([6, 5, 0], b""))
put("images", "bad-two-dimensions", idx([6, 20], pixels))
put("images", "bad-other-number", idx([5, 6, 4], pixels))
put("labels", "bad-two-dimensions", idx([6, 1], [0] * 6))

# Tables.

rows = [f"{i % 2},{','.join(str((i * 31 + p * 17) % 256) for p in range(16))}" for i in range(8)]
header = "label," + ",".join(f"pixel{p}" for p in range(16))
table = "\n".join([header, *rows, ""])
put("table", "good-kaggle.csv", table)
put("table", "good-quotes-crlf.csv", table.replace("label", '"Label"').replace("\n", "\r\n"))
put("table", "bad-empty.csv", "")
put("table", "bad-header-only.csv", header)
put("table", "bad-cut.csv", table[:-4])
put("table", "quote-open.csv", table.replace("0,0,", '0,"0,', 1))
put("table", "bad-256.csv", table.replace(",17,", ",256,", 1))
put("table", "bad-negative.csv", table.replace(",17,", ",-1,", 1))
put("table", "two-labels.csv", table.replace("pixel3", "label"))
put("table", "bad-no-pixel.csv", "label\n1\n0\n")
put("table", "bad-zeros.csv", b"label" + b"\0" * 3000)
put("table", "bad-not-utf8.csv", table.encode()[:200] + b"\xff\xfe" + table.encode()[200:])
put("table", "bad-no-square.csv", "label,a,b\n0,1,2\n1,2,3\n")
put("table", "bad-commas.csv", "label" + "," * 4096 + "\n\n\n" + "," * 4000)
put("table", "bad-one-class.csv", "\n".join([header, *rows[::2], ""]))

# Pictures.

PNG = b"\x89PNG\r\n\x1a\n"


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, lines, kind=0, bits=8, interlace=0, more=b""):
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlace)
    return PNG + chunk(b"IHDR", head) + more + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


def stroke(width, height, ink=0, paper=255, channels=1):
    def line(y):
        return b"".join(
            bytes([ink if abs(x - width // 2) < width // 8 + 1 and height // 5 < y < height * 4 // 5 else paper] * channels)
            for x in range(width)
        )

    return b"".join(b"\0" + line(y) for y in range(height))


grey = png(30, 40, stroke(30, 40))
pictures = {
    "good-grey.png": grey,
    "good-inverse.png": png(28, 28, stroke(28, 28, 255, 0)),
    "good-rgb.png": png(20, 20, stroke(20, 20, channels=3), 2),
    "good-rgba.png": png(20, 20, stroke(20, 20, channels=4), 6),
    "good-16-bit.png": png(20, 20, stroke(20, 20, channels=2), 0, 16),
    "good-long.png": png(400, 8, stroke(400, 8)),
    "good-palette.png": png(16, 16, stroke(16, 16, 1, 0), 3, more=chunk(b"PLTE", bytes([255, 255, 255, 0, 0, 0]))),
    "palette-short.png": png(16, 16, stroke(16, 16, 1, 9), 3, more=chunk(b"PLTE", bytes([255, 255, 255]))),
    # png 0.18.1 panics at it.
    "bad-palette-part.png": png(16, 16, stroke(16, 16, 1, 0), 3, more=chunk(b"PLTE", bytes(11))),
    "interlaced.png": png(16, 16, bytes(300), interlace=1),
    "bad-cut.png": grey[: len(grey) * 2 // 3],
    "bad-sum.png": grey[:-20] + b"\1" + grey[-19:],
    "bad-header-only.png": grey[:33],
    "bad-magic-only.png": PNG,
    "bad-huge-sides.png": png(0x7FFFFFFF, 0x7FFFFFFF, b"\0"),
    "bad-no-width.png": png(0, 9, b"\0" * 9),
    # Lines that are missing; texts that unpack to 8 MB; then more sides than are read, and more pixels.
    "bad-few-lines.png": png(16, 16, bytes(16 * 17 - 5)),
    "bad-bomb-text.png": png(16, 16, b"", more=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(8 << 20), 9))),
    "bad-bomb-profile.png": png(16, 16, b"", more=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(8 << 20), 9))),
    "bad-side.png": png(16385, 1, b"\0"),
    "bad-pixels.png": png(16000, 16000, b"\0" * 100),
    "bad-promises.png": png(8192, 8192, b"\0" * 100),
    "bad-empty": b"",
    "bad-text": b"not a picture",
    "bad-gif": b"GIF89a" + bytes(40),
}
# 17 x 9 grey, baseline: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, Annex K's tables for luminance; every coefficient
# is the end-of-block after one DC difference, so the picture is three levels of grey side by side.
counts_dc = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
dc = bytes([0x00, *counts_dc, *range(12)])
ac = bytes([0x10, 1, *[0] * 15, 0])  # the end of a block alone: code 0


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def bits(text):
    text += "1" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)).replace(b"\xff", b"\xff\0")


def jpeg(width=24, height=8, more=b"", scan=None):
    # Categories 0-5 have the codes 00, 010, 011, 100, 101, 110.
    blocks = scan or bits("".join(["1100" + "0000"[:3] + "1" + "0", "110" + "11111" + "0", "110" + "00000" + "0"]))
    return (
        b"\xff\xd8"
        + more
        + segment(0xDB, b"\0" + bytes([16] * 64))
        + segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
        + segment(0xC4, dc)
        + segment(0xC4, ac)
        + segment(0xDA, b"\1\1\0\0\x3f\0")
        + blocks
        + b"\xff\xd9"
    )


def exif(orientation):
    entry = struct.pack(">H", 1) + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack(">I", 0)
    return segment(0xE1, b"Exif\0\0MM\0\x2a\0\0\0\x08" + entry)


whole = jpeg()
pictures |= {
    "good-grey.jpg": whole,
    "good-turned.jpg": jpeg(more=exif(6)),
    "good-turned-99.jpg": jpeg(more=exif(99)),
    "exif-short.jpg": jpeg(more=segment(0xE1, b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")),
    "no-scan.jpg": jpeg(scan=b"\0"),
    "bad-cut.jpg": whole[:-8],
    "bad-start.jpg": b"\xff\xd8\xff",
    "bad-huge.jpg": jpeg(65535, 65535),
    "bad-no-size.jpg": jpeg(0, 0),
    "bad-segment.jpg": b"\xff\xd8\xff\xc0\xff\xff\x08",
    "bad-segments.jpg": b"\xff\xd8" + b"\xff\xe0\0\0" * 2000,
}
for name, content in pictures.items():
    put("pictures", name, content)

# JSON of all kinds.

for name, content in {
    "empty": "",
    "null": "null",
    "deep": "[" * 30000,
    "deep-objects": '{"a":' * 10000 + "1" + "}" * 10000,
    "not-utf8": b'{"a": "\xff\xfe"}',
    "open-string": '{"' + "a" * 3000,
    "surrogate": '{"\\ud800": 1}',
    "number": '{"format": ' + "9" * 3000 + "}",
}.items():
    put("json", name, content)
manifest = {"format": 1, "source": "s", "classes": ["a", "b"], "preparation": "digit", "sha256": ["0"] * 4}
put("manifest", "bad-digests.json", json.dumps(manifest))
put("manifest", "bad-format.json", json.dumps(manifest | {"format": 2}))
put("manifest", "bad-no-class.json", json.dumps(manifest | {"classes": []}))
put("manifest", "bad-257-classes.json", json.dumps(manifest | {"classes": ["c"] * 257}))
put("manifest", "bad-three-digests.json", json.dumps(manifest | {"sha256": ["0"] * 3}))
put("manifest", "bad-key.json", json.dumps(manifest | {"more": 1}))

patches = {"size": [6, 8], "patch": [2, 4], "codebook": None}
for name, change in {
    "overflow": {"size": [1 << 40] * 2, "patch": [1 << 40] * 2, "codebook": [0.0]},
    "overflow-tokens": {"size": [1 << 40] * 2, "patch": [1, 1]},
    "no-patch": {"patch": [0, 4]},
    "no-size": {"size": [0, 0]},
    "odd": {"patch": [5, 4]},
    "too-many-bits": {"patch": [6, 8]},
    "no-codebook": {"codebook": []},
    "half-codebook": {"codebook": [0.5] * 9},
    "infinite": {"codebook": [1e300] * 8},
    "negative": {"size": [-6, 8]},
}.items():
    put("patches", f"bad-{name}.json", json.dumps(patches | change))

alphabet = [chr(c) for c in [*range(33, 127), *range(161, 173), *range(174, 256)]]
alphabet += [chr(256 + i) for i in range(256 - len(alphabet))]
byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
small = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": byte_level,
    "post_processor": None,
    "decoder": byte_level | {"add_prefix_space": True},
    "model": {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {c: i for i, c in enumerate(alphabet)},
        "merges": [],
    },
}


def tokeniser(name, **parts):
    model = small["model"] | parts.pop("model", {})
    put("tokeniser", name, json.dumps(small | parts | {"model": model}, ensure_ascii=False, separators=(",", ":")))


vocab = small["model"]["vocab"]
tokeniser("good-bytes.json")
tokeniser("good-merge.json", model={"vocab": vocab | {"th": 256}, "merges": [["t", "h"]]})
tokeniser("bad-ids.json", model={"vocab": vocab | {"th": 4294967295}, "merges": [["t", "h"]]})
tokeniser("bad-same-ids.json", model={"vocab": vocab | {"th": 3}, "merges": [["t", "h"]]})
tokeniser("bad-few.json", model={"vocab": {"a": 0}})
tokeniser("bad-chance.json", model={"dropout": 0.5})
merged = {"vocab": vocab | {"th": 256}, "merges": [["t", "h"]]}
tokeniser("bad-prefix.json", model=merged | {"continuing_subword_prefix": "##"})
tokeniser("bad-unknown.json", model={"unk_token": "<unk>"})
tokeniser("bad-merge.json", model={"merges": [["t", "nothing"]]})
tokeniser("bad-merge-one.json", model={"merges": [["t"]]})
tokeniser("bad-added.json", added_tokens=[{"id": 999, "content": "<s>", "special": True}])
tokeniser("bad-normalizer.json", normalizer={"type": "Precompiled", "precompiled_charsmap": "////"})
split = {"type": "Split", "pattern": {"Regex": "(a*)*" * 40}, "behavior": "Isolated", "invert": False}
tokeniser("bad-regex.json", pre_tokenizer=split)
padding = {"strategy": {"Fixed": 1 << 40}, "direction": "Right", "pad_to_multiple_of": None}
tokeniser("bad-padding.json", padding=padding | {"pad_id": 0, "pad_type_id": 0, "pad_token": ""})
put("tokeniser", "bad-wordpiece.json", json.dumps(small | {"model": {"type": "WordPiece", "vocab": {}}}))

# Texts.

lines = [f"Verse {i} says {i * i % 97}, and then {i * 31 % 89}; is it so?" for i in range(240)]
put("text", "good-lines", "\n".join(lines))
put("text", "good-paragraphs.gz", gz("\n\n".join(lines).encode()))
put("text", "good-crlf.gz", gz("\r\n\r\n".join(lines).encode()))
marks = ["." * (i % 7) + f"«{i}» —,;:?!…" + "\u0301" * (i % 5) for i in range(400)]
put("text", "good-marks.gz", gz("\n".join(marks).encode()))
put("text", "long-lines.gz", gz("\n".join(["\U0001f980" * 3000, "é" * 5000, *lines]).encode()))
put("text", "separators.gz", gz("\x1c".join(lines).encode()))
put("text", "bad-empty", "")
put("text", "bad-blank", "\n \r\n\t" * 300)
put("text", "bad-short", "one line")
put("text", "bad-same", "again\n" * 400)
put("text", "bad-zero", "\n".join(lines)[:300] + "\0")
put("text", "bad-utf8", b"\n".join(line.encode() for line in lines)[:900] + b"\xe2\x28\xa1")
put("text", "bad-gzip-cut", gz("\n".join(lines).encode())[:-9])
put("text", "bad-bomb", gz(bytes(4 << 20)))

# Recipes and run.toml.

put("toml", "bad-deep.toml", "a = " + "[" * 20000)
put("toml", "bad-deep-tables.toml", "a = " + "{a=" * 5000)
put("toml", "bad-deep-keys.toml", ".".join("a" * 4000) + " = 1")
put("toml", "bad-deep-header.toml", "[" + ".".join("a" * 4000) + "]")
put("toml", "bad-open-string.toml", 'net = """' + "m" * 3000)
put("toml", "bad-twice.toml", "epochs = 1\nepochs = 2\n")
put("toml", "bad-not-utf8.toml", b'net = "\xff"')
put("toml", "bad-number.toml", "epochs = 99999999999999999999")
put("recipe", "good-empty.toml", "")
put("recipe", "good-mlp.toml", "net = 'mlp'\nepochs = 3\n[mlp]\nhidden = [64]\n[vit]\nsize = '1m'\n")
put("recipe", "sets", "net=mlp\nmlp.hidden=[1, 2]\nschedule.learning_rate=1e-3\nvit.size=10m\n")
for name, text in {
    "most": "epochs = 9223372036854775807",
    "infinite": "[schedule]\nlearning_rate = inf",
    "nan": "[optimizer]\nweight_decay = nan",
    "path": "[data]\nname = '../../etc'",
    "unknown": "learnign_rate = 1",
    "date": "seed = 1979-05-27T07:32:00Z",
    "group": "data = 3",
    "long-key": "a" * 20000 + " = 1",
}.items():
    put("recipe", f"bad-{name}.toml", text)
put("recipe", "huge-net.toml", "net = 'mlp'\n[mlp]\nhidden = [" + "9223372036854775807, " * 50 + "]\n")
most = 2**63 - 1
put("recipe", "huge-tokens.toml", f"objective = 'masked'\n[tokens]\ncontext = {most}\nvocabulary = {most}\n")
model = '[model]\nsize = {size}\nclasses = {classes}\nmean = {mean}\nstd = {std}\n{more}'
provenance = '[provenance]\nversion = "0"\ngit_commit = "0"\nbackend = "flex"\ndata_digest = "0"\n'


def run(name, settings="net = 'mlp'", size="[28, 28]", classes='["a", "b"]', mean="0.1", std="0.3", more=""):
    filled = model.format(size=size, classes=classes, mean=mean, std=std, more=more)
    put("run", name, f"{settings}\n{filled}{provenance}")


tokens = "[model.tokens]\nvocabulary = {}\nlength = {}\nimages = {}\n"
run("good-mlp.toml")
run("good-masked.toml", "objective = 'masked'", more=tokens.format(256, 128, "false"))
run("bad-no-size.toml", size="[0, 28]")
run("bad-size.toml", size="[9223372036854775807, 9223372036854775807]")
run("bad-classes.toml", classes="[]")
run("bad-nan.toml", mean="nan")
run("bad-std.toml", std="0")
run("bad-objective.toml", "objective = 'none'")
run("bad-net.toml", "net = '../cnn'")
run("many-classes.toml", classes="[" + '"c",' * 5000 + "]")
run("huge-net.toml", "net = 'mlp'\n[mlp]\nhidden = [9223372036854775807, 9223372036854775807]")
for objective in ["masked", "language-model", "classify-tokens", "label-sequence"]:
    for images in ["true", "false"]:
        more = tokens.format(most, most, images)
        run(f"huge-{objective}-{images}.toml", f"objective = '{objective}'", more=more)
run("no-tokens.toml", "objective = 'masked'", more=tokens.format(0, 0, "true"))
put("run", "bad-no-model.toml", provenance)
put("run", "bad-no-provenance.toml", "net = 'mlp'")

# safetensors.


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


four = struct.pack("<4f", 1, 2, 3, 4)
nan = struct.pack("<4f", 1, float("nan"), 3, 4)
sound = {"a": tensor([2, 1], [0, 8]), "b": tensor([2], [8, 16])}
files = {
    "bad-empty": b"",
    "bad-header-cut": safetensors(sound)[:20],
    "bad-header-huge": safetensors(sound, four, 1 << 62),
    "bad-header-gigabyte": safetensors(sound, four, 99_999_999),
    "bad-overlap": safetensors({"a": tensor([2], [0, 8]), "b": tensor([2], [4, 12])}, four),
    "bad-hole": safetensors({"a": tensor([2], [0, 8]), "b": tensor([1], [12, 16])}, four),
    "bad-behind-end": safetensors({"a": tensor([4], [8, 24])}, four),
    "bad-backwards": safetensors({"a": tensor([2], [8, 0])}, four),
    "bad-offset-overflow": safetensors({"a": tensor([2], [(1 << 64) - 8, (1 << 64) - 1])}, four),
    "bad-shape-overflow": safetensors({"a": tensor([1 << 63, 4], [0, 16])}, four),
    "bad-shape-wraps": safetensors({"a": tensor([1 << 32, 1 << 32, 4], [0, 16])}, four),
    "bad-no-values": safetensors({"conv1.weight": tensor([1 << 40, 0, 1, 1], [0, 0])}),
    "bad-no-values-square": safetensors({"conv1.weight": tensor([0, 1, 1 << 40, 1 << 40], [0, 0])}),
    "bad-half": safetensors({"a": tensor([8], [0, 16], "F16")}, four),
    "bad-type": safetensors({"a": tensor([4], [0, 16], "F33")}, four),
    "bad-counter-only": safetensors({"a": tensor([2], [0, 16], "I64")}, four),
    "bad-deep": safetensors(b'{"a":' + b"[" * 20000),
    "bad-not-utf8": safetensors(b'{"\xff\xfe": 1}', four),
    "bad-metadata": safetensors({"__metadata__": {"a": 1}} | sound, four),
    "bad-many": safetensors({f"t{i}": tensor([0], [0, 0]) for i in range(150)}),
}
for name, content in files.items():
    put("tensors", name, content)
put("safetensors", "good-two", safetensors(sound, four))
put("safetensors", "good-scalar", safetensors({"a": tensor([], [0, 4])}, four[:4]))
put("safetensors", "bad-nan", safetensors(sound, nan))
put("safetensors", "bad-infinite", safetensors(sound, struct.pack("<4f", 1, 2, 3, float("inf"))))
put("weights", "bad-foreign", safetensors(sound, four))
stem = {"conv1.weight": tensor([1, 1, 1, 1], [0, 4]), "bn1.running_mean": tensor([1], [4, 8])}
stem |= {"layer1.0.conv1.weight": tensor([1], [8, 12]), "fc.weight": tensor([1], [12, 16])}
put("safetensors", "torchvision-names", safetensors(stem, four))

# PyTorch's. Protocol 2; letters are those of Python's pickletools.


def integer(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def text(value):
    value = value.encode()
    return b"X" + struct.pack("<I", len(value)) + value


def sizes(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(key="0", count=4, kind="FloatStorage", where="cpu"):
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text(where) + integer(count) + b"tQ"


def rebuilt(shape, strides, offset=0, made="_rebuild_tensor_v2", of=None):
    of = storage() if of is None else of
    call = f"ctorch._utils\n{made}\n(".encode() + of + integer(offset) + sizes(shape) + sizes(strides)
    return call + b"\x89ccollections\nOrderedDict\n)RtR"


def state_dict(**tensors):
    return b"\x80\x02}(" + b"".join(text(name) + made for name, made in tensors.items()) + b"u."


def archive(pickle, more=(("model/data/0", four),), compression=ZIP_STORED):
    buffer = BytesIO()
    with ZipFile(buffer, "w") as file:
        for name, content in [("model/data.pkl", pickle), ("model/byteorder", b"little"), *more, ("model/version", b"3\n")]:
            info = ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = compression
            file.writestr(info, content)
    return buffer.getvalue()


def legacy(pickle, keys=("0",), data=struct.pack("<Q", 4) + four):
    magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
    listed = b"\x80\x02](" + b"".join(map(text, keys)) + b"e."
    return magic + b"\x80\x02M\xe9\x03." + b"\x80\x02}." + pickle + listed + data


good = state_dict(w=rebuilt([2, 2], [2, 1]))
old = state_dict(w=rebuilt([2, 2], [2, 1], of=storage()[:-2] + b"NtQ"))
whole = archive(good)
files = {
    "good-zip": whole,
    "good-legacy": legacy(old),
    "good-old-call": archive(state_dict(w=rebuilt([4], [1], made="_rebuild_tensor"))),
    "good-part": archive(state_dict(w=rebuilt([2], [1], 2), v=rebuilt([2, 1], [1, 7]))),
    "good-counter": archive(
        state_dict(w=rebuilt([4], [1]), n=rebuilt([2], [1], of=storage(kind="LongStorage", count=2)))
    ),
    "good-nested": archive(b"\x80\x02}(" + text("epoch") + b"K\5" + text("state") + good[2:-1] + b"u."),
    "bad-empty": b"",
    "bad-cut": whole[:-30],
    "bad-cut-storage": legacy(good)[:-5],
    # Burn's reader gives zeros for these.
    "bad-no-storage": archive(good, ()),
    "bad-short-storage": archive(good, (("model/data/0", four[:8]),)),
    "bad-sum": whole.replace(four, four[:-1] + b"\1"),
    # For these it reads other numbers than were saved.
    "bad-transposed": archive(state_dict(w=rebuilt([2, 2], [1, 2]))),
    "bad-expanded": archive(state_dict(w=rebuilt([4, 4], [0, 1]))),
    "bad-behind-end": archive(state_dict(w=rebuilt([2, 2], [2, 1], 1))),
    # For these it asks for terabytes.
    "bad-terabytes": archive(state_dict(w=rebuilt([1 << 40], [1]))),
    "bad-promised-storage": archive(state_dict(w=rebuilt([1 << 40], [1], of=storage(count=1 << 40)))),
    "bad-shape-wraps": archive(state_dict(w=rebuilt([1 << 32, 1 << 32, 4], [1 << 34, 4, 1]))),
    "bad-negative": archive(state_dict(w=rebuilt([-1], [1]))),
    "bad-offset": archive(state_dict(w=rebuilt([1], [1], -1))),
    "bad-no-values": archive(state_dict(w=rebuilt([0, 1 << 40], [1, 1]))),
    "bad-legacy-terabytes": legacy(state_dict(w=rebuilt([4], [1], of=storage(count=1 << 40)))),
    "bad-long-text": b"\x80\x02X\xff\xff\xff\xff.",
    "bad-shared": archive(state_dict(**{f"w{i}": rebuilt([4], [1]) for i in range(2000)})[:60000]),
    # For these its stack overflows.
    "bad-deep-tuple": b"\x80\x02N" + b"\x85" * 50000 + b".",
    "bad-deep-list": b"\x80\x02" + b"]" * 20000 + b"a" * 19999 + b".",
    "bad-deep-dict": archive(b"\x80\x02" + (b"}" + text("a")) * 5000 + b"N" + b"s" * 5000 + b"."),
    # And these double what they hold at each turn.
    "bad-doubling": b"\x80\x02Nq\0" + b"h\0h\0\x86q\0" * 60 + b".",
    "bad-copies": b"\x80\x02(" + b"N" * 9000 + b"t" + b"q\0" * 9000 + b".",
    "bad-at-once": archive(b"\x80\x02}(" + b"U\1aN" * 12000 + b"u."),
    # Nothing is run.
    "bad-system": b"cposix\nsystem\nX\x0f\0\0\0touch /tmp/owned\x85R.",
    "bad-system-zip": archive(b"\x80\x02cposix\nsystem\n" + text("touch owned") + b"\x85R."),
    "bad-eval": archive(b"\x80\x02}" + text("a") + b"c__builtin__\neval\n" + text("1/0") + b"\x85Rs."),
    "bad-storage-type": archive(state_dict(w=rebuilt([4], [1], of=storage(kind="EvilStorage")))),
    "bad-storage-twice": archive(state_dict(a=rebuilt([4], [1]), b=rebuilt([2], [1], of=storage(count=2)))),
    "bad-nan": archive(good, (("model/data/0", nan),)),
    "bad-no-tensor": archive(b"\x80\x02}."),
    "bad-list": archive(b"\x80\x02]."),
    "bad-no-stop": archive(good[:-1]),
    "bad-mark": archive(b"\x80\x02}" + text("a") + b"Nu."),
    "bad-memo": archive(b"\x80\x02h\7."),
    "bad-stack": archive(b"\x80\x02R."),
    "bad-protocol-inside": legacy(b"\x80\x02}(\x80(" + good[4:]),
    "bad-compressed": archive(good, compression=ZIP_DEFLATED),
    "bad-bomb": archive(good, (("model/data/0", four), ("model/zeros", bytes(4 << 20))), ZIP_DEFLATED),
    "bad-two-pickles": archive(good, (("model/data/0", four), ("other/data.pkl", good))),
    "bad-big-endian": whole.replace(b"byteorderlittle", b"byteorderbig\0\0\0"),
    "parent": archive(good, (("model/data/0", four), ("../../owned", b"x"), ("/etc/owned", b"x"))),
    "bad-parent-storage": archive(state_dict(w=rebuilt([4], [1], of=storage(key="../../../etc/passwd")))),
    "bad-tar": bytes(257) + b"ustar\0" + bytes(1000),
    "bad-no-zip": b"PK\3\4" + bytes(60),
    "bad-zip-end-only": b"PK\5\6" + b"\xff" * 18,
}
for name, content in files.items():
    put("pytorch", name, content)

# Logs, figures, cells, searches.

line = {"split": "train", "step": 4, "epoch": 1, "learning_rate": 1e-3, "values": {"loss": 1.5}}


def jsonl(*lines):
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


put("metrics", "good-empty", "")
extremes = [(1, 1e308), (2, -1e308), (3, 5e-324), (2**63, 0.0)]
put("metrics", "good-extremes", jsonl(*[line | {"step": s, "values": {"loss": v}} for s, v in extremes]))
put("metrics", "good-same", jsonl(*[line] * 5))
put("metrics", "good-epochs", jsonl(line | {"split": "valid", "step": 2**64 - 1, "epoch": 1}, line | {"epoch": 2**64 - 1}))
put("metrics", "good-names", jsonl(line | {"values": {"<script>&\"": 1.0, "\u202e\0": 0.5, "": 2.0}, "split": "</svg>"}))
put("metrics", "good-charts", jsonl(line | {"values": {f"value {i}": float(i) for i in range(30)}}))
put("metrics", "good-many-charts", jsonl(line | {"values": {f"value {i}": 1.0 for i in range(900)}}))
put("metrics", "bad-cut", jsonl(line, line)[:-9])
put("metrics", "bad-infinite", jsonl(line).replace("1.5", "1e999"))
put("metrics", "bad-blank-line", jsonl(line) + "\n" + jsonl(line))
end = {"event": "end", "step": 8, "examples_per_second": 1e308, "train_seconds": -1e308}
put("timing", "good-cut-behind", jsonl(end) + jsonl(end)[:20])
put("timing", "bad-epochs", jsonl(end | {"event": "epoch"}))
row = {"class": "a", "precision": 1, "recall": 1, "f1": 1, "support": 1}
figures = {
    "accuracy": 0.5,
    "macro_f1": 0.5,
    "weighted_f1": 0.5,
    "per_class": [],
    "confusion_matrix": [[1, 2, 3], [], [18446744073709551615] * 2],
    "cross_entropy": 1e308,
    "brier": -1e308,
    "ece": 1,
    "top2_accuracy": 1,
    "examples": 2**64 - 1,
    "accuracy_interval": [2, -2],
}
put("evaluation", "ragged.json", json.dumps(figures))
full = {"per_class": [row] * 3, "confusion_matrix": [[2**64 - 1] * 3] * 3}
put("evaluation", "good-full-counts.json", json.dumps(figures | full))
put("evaluation", "ragged-classes.json", json.dumps(figures | {"per_class": [row] * 2}))
put("evaluation", "scores.json", json.dumps({"objective": "`vae`", "examples": 0, "scores": {"a|b": 1e308}}))
put("evaluation", "bad-scores.json", json.dumps({"objective": "vae", "examples": -1, "scores": {}}))
cell = {"way": "../knn", "labels": 2**64 - 1, "seed": 0, "valid": 1e308, "test": -1, "test_f1": 0}
put("cell", "good-extremes.json", json.dumps(cell))
put("cell", "bad-key.json", json.dumps(cell | {"more": 1}))
trial = {"number": 1, "places": [0.5], "sets": [], "curve": [0.5], "pruned": False, "failed": None}
put("search", "good-short-places", "a=0..1\nb=0..1\n" + jsonl(*[trial | {"number": n} for n in range(1, 14)]))
put("search", "good-no-places", "a=0..1\n" + jsonl(*[trial | {"places": []}] * 14))
put("search", "good-far-places", "a=0..1\nb=x|y\n" + jsonl(*[trial | {"places": [1e308, -1e308]}] * 14))
put("search", "good-no-space", jsonl(*[trial] * 14))
backwards = {"key": "a", "values": {"range": {"low": 5.0, "high": 1.0, "log": True, "whole": False}}}
put("search", "good-backwards", jsonl(backwards, *[trial] * 3))
put("search", "good-no-choice", jsonl({"key": "a", "values": {"choice": []}}, *[trial] * 14))
put("search", "good-long-curve", "a=0..1\n" + jsonl(*[trial | {"curve": [1e308, -1e308] * 50}] * 5))
wrong = {"range": "a=1..0", "log": "a=-1..1:log", "nan": "a=nan..inf", "none": "a=", "dots": "a=....", "wide": "a=-1e308..1e308"}
for name, line in wrong.items():
    put("search", f"bad-{name}", line)
