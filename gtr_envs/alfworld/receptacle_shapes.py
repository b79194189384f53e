"""How the receptacles of a household look: shapes in the notation of `shapes`, and where things lie on or in them."""

from __future__ import annotations

from typing import NamedTuple

Box = tuple[float, float, float, float]


class ReceptacleLook(NamedTuple):
    """How a kind of receptacle looks.

    Args:
        aspect: its width as a share of its height.
        room: boxes (left, top, right, bottom), of 100 x 100, that things stand in, upright on the lower edges.
        shapes: how it looks when one can see what is in or on it.
        closed: how it looks closed; empty if it never is.
    """

    aspect: float
    room: tuple[Box, ...]
    shapes: str
    closed: str = ""


# Laid over what has no closed drawing of its own.
SHUT = (
    "box #6d7480 18 20 82 80 6; box #4c525c 22 24 78 76 4; oval #d9c36a 50 46 8 10; "
    "poly #d9c36a 46 48 54 48 58 66 42 66"
)
PLAIN_BOX = ReceptacleLook(
    1.2,
    ((12, 14, 88, 86),),
    "box #9b8a74 4 6 96 96 3; box #5d5142 10 12 90 90 2",
    "box #9b8a74 4 6 96 96 3; line #5d5142 2 4 40 96 40; box #5d5142 42 46 58 54 2",
)

RECEPTACLES = {
    "armchair": ReceptacleLook(
        1.1,
        ((22, 28, 78, 74),),
        "box #3d5a80 14 4 86 70 14; box #4f74a3 22 12 78 60 8; box #7d9cc6 20 56 80 82 6; box #2c4363 2 40 22 92 10;"
        "box #2c4363 78 40 98 92 10; box #35507a 20 80 80 92; box #222 8 92 16 99; box #222 84 92 92 99",
    ),
    "bathtubbasin": ReceptacleLook(
        1.65,
        ((12, 34, 84, 68),),
        "line silver 5 94 40 94 16 84 16 84 24; poly #f4f6f8 2 36 98 36 92 90 84 96 16 96 8 90; "
        "oval #fdfdfd 50 36 48 14; "
        "poly #c2e4f2 8 38 92 38 86 70 14 70; oval #c2e4f2 50 38 42 9; oval #9fcfe4 50 70 36 6; "
        "box #888 14 94 20 100; box #888 80 94 86 100",
    ),
    "bed": ReceptacleLook(
        1.65,
        ((12, 26, 88, 76),),
        "box #7a4a22 6 4 94 50 5; box #9a6434 12 9 88 40 4; poly #f2eee6 8 40 92 40 98 80 2 80; "
        "poly #d8605c 6 54 94 54 98 80 2 80; "
        "box #b84642 2 80 98 92 2; line #f6d6d2 2 6 56 94 56; box #5a3414 4 92 10 100; box #5a3414 90 92 96 100",
    ),
    "cabinet": ReceptacleLook(
        1.45,
        ((24, 10, 76, 47), (24, 53, 76, 91)),
        "box #8a6238 20 4 80 96 2; box #3c2a18 23 8 77 92; box #a87c4c 23 47 77 51; poly #c89a64 20 4 2 10 2 100 20 96;"
        "poly #c89a64 80 4 98 10 98 100 80 96; oval #ddd 5 56 1.5 4; oval #ddd 95 56 1.5 4",
        "box #8a6238 20 4 80 96 2; box #c89a64 22 7 49 93 2; box #c89a64 51 7 78 93 2; box #b5854e 26 14 45 86 1;"
        "box #b5854e 55 14 74 86 1; oval #eee 46.5 52 1.6 4; oval #eee 53.5 52 1.6 4",
    ),
    "cart": ReceptacleLook(
        1.1,
        ((12, 8, 88, 46), (12, 52, 88, 84)),
        "line #8d99a6 4 8 90 8 30; line #8d99a6 4 92 90 92 30; line #8d99a6 4 92 34 99 22; "
        "poly #dfe6ec 14 32 86 32 96 46 4 46; "
        "box #9fb0bf 4 46 96 50; poly #dfe6ec 14 72 86 72 96 84 4 84; box #9fb0bf 4 84 96 89; "
        "oval #222 12 95 5 5; oval #222 88 95 5 5",
    ),
    "coffeemachine": ReceptacleLook(
        0.85,
        ((22, 44, 78, 88),),
        "box #2b2b30 8 4 92 34 8; box #2b2b30 8 20 24 96 3; box #1c1c20 76 30 92 96; box #55555e 24 34 76 88; "
        "box #2b2b30 4 88 96 98 3; "
        "box #c8ccd4 40 30 60 42 3; oval #ff3b30 82 18 5 5; box #7fd6a4 18 12 52 24 2",
    ),
    "coffeetable": ReceptacleLook(
        1.7,
        ((14, 10, 86, 60),),
        "box #6b4423 8 60 14 92; box #6b4423 86 60 92 92; box #8a5a30 18 78 82 84; "
        "poly #c9985e 16 32 84 32 98 62 2 62; box #8a5a30 2 62 98 70 2",
    ),
    "countertop": ReceptacleLook(
        1.7,
        ((5, 6, 95, 54),),
        "box #e6ebee 2 2 98 34; line #c4ced4 1.2 2 12 98 12; line #c4ced4 1.2 2 23 98 23; "
        "line #c4ced4 1.2 26 2 26 34; line #c4ced4 1.2 50 2 50 34; "
        "line #c4ced4 1.2 74 2 74 34; poly #8f979f 6 32 94 32 100 56 0 56; box #666e76 0 56 100 62; "
        "box #f0e4d0 3 62 97 98; "
        "box #ddcbaa 6 66 33 95; box #ddcbaa 36 66 64 95; box #ddcbaa 67 66 94 95; oval #666 30 80 1 3; "
        "oval #666 61 80 1 3; oval #666 91 80 1 3",
    ),
    "desk": ReceptacleLook(
        1.65,
        ((8, 8, 92, 50),),
        "box #5b3a22 6 50 11 98; box #6f4a2c 62 54 95 96; box #8d623c 65 58 92 74; box #8d623c 65 77 92 93; "
        "oval #ddd 78 66 3 1.6; "
        "oval #ddd 78 85 3 1.6; poly #a9794c 10 28 90 28 99 50 1 50; box #6f4a2c 1 50 99 56",
    ),
    "diningtable": ReceptacleLook(
        1.7,
        ((12, 8, 88, 58),),
        "box #7a3d1c 45 60 55 94; poly #7a3d1c 45 86 55 86 78 99 22 99; oval #7a3d1c 50 50 50 24; "
        "oval #b5683a 50 46 50 23; "
        "oval #f7f2e4 50 45 41 17; oval #e4dac0 50 45 34 13",
    ),
    "drawer": ReceptacleLook(
        1.6,
        ((15, 16, 85, 60),),
        "box #7d5833 2 2 98 30 2; box #2c1f12 8 10 92 30; poly #d9b583 14 22 86 22 95 66 5 66; "
        "poly #6e5234 18 26 82 26 89 62 11 62; "
        "box #b98b55 2 64 98 96 3; box #a2763f 8 70 92 90 2; box #eee 38 76 62 82 3",
        "box #7d5833 2 2 98 30 2; box #7d5833 2 26 98 98 2; box #b98b55 6 30 94 78 3; box #a2763f 12 37 88 71 2; "
        "box #eee 38 50 62 57 3",
    ),
    "dresser": ReceptacleLook(
        1.45,
        ((8, 4, 92, 40),),
        "poly #d1a56c 8 24 92 24 98 42 2 42; box #8f6a3c 2 42 98 46; box #a87d48 4 46 96 95; "
        "box #c29860 8 49 48 69 2; box #c29860 52 49 92 69 2; "
        "box #c29860 8 72 48 92 2; box #c29860 52 72 92 92 2; oval #444 28 59 3 2; oval #444 72 59 3 2; "
        "oval #444 28 82 3 2; "
        "oval #444 72 82 3 2; box #5a4020 6 95 12 100; box #5a4020 88 95 94 100",
    ),
    "fridge": ReceptacleLook(
        1.0,
        ((16, 8, 64, 32), (16, 36, 64, 62), (16, 66, 64, 92)),
        "box #c4ced6 10 2 70 98 4; box #f4fbff 14 6 66 94 2; box #9fc4dc 14 32 66 35; box #9fc4dc 14 62 66 65; "
        "poly #dde5ea 70 2 98 8 98 100 70 98; "
        "poly #f8fbfd 74 10 94 14 94 50 74 48; poly #f8fbfd 74 56 94 58 94 90 74 88; line #888 3 96 40 96 66; "
        "oval #ffef9a 40 8 10 2",
        "box #c4ced6 20 2 80 98 4; box #e6edf1 23 4 77 34 3; box #e6edf1 23 37 77 95 3; "
        "box #8a98a4 68 14 73 30 2; box #8a98a4 68 42 73 66 2; "
        "box #444 24 96 34 100; box #444 66 96 76 100",
    ),
    "garbagecan": ReceptacleLook(
        0.9,
        ((24, 22, 76, 64),),
        "poly #59626b 8 18 92 18 80 96 20 96; oval #7b8690 50 18 43 13; poly #1d2125 15 19 85 19 76 66 24 66; "
        "oval #1d2125 50 19 36 9; "
        "line #8a96a0 2 22 74 26 94; line #8a96a0 2 50 72 50 96; line #8a96a0 2 78 74 74 94",
    ),
    "handtowelholder": ReceptacleLook(
        0.9,
        ((24, 38, 76, 76),),
        "box #b8bec6 36 2 64 18 5; oval #b8bec6 50 52 44 44; oval #e9e4d8 50 52 37 38; box #8d949c 45 10 55 22 2",
    ),
    "laundryhamper": ReceptacleLook(
        0.85,
        ((20, 32, 80, 72),),
        "poly #e8d5b0 8 2 92 2 88 28 12 28; poly #c9a873 8 28 92 28 84 98 16 98; poly #4a3b24 15 31 85 31 80 74 20 74;"
        "line #9a7a48 2 13 80 87 80; line #9a7a48 2 14 89 86 89; box #b3905a 6 25 94 32 3",
        "poly #c9a873 8 28 92 28 84 98 16 98; line #9a7a48 2 10 42 90 42; line #9a7a48 2 11 56 89 56; "
        "line #9a7a48 2 13 70 87 70; "
        "line #9a7a48 2 14 84 86 84; line #9a7a48 2 30 30 32 98; line #9a7a48 2 50 30 50 98; "
        "line #9a7a48 2 70 30 68 98; "
        "box #e8d5b0 4 16 96 30 5; box #9a7a48 44 10 56 17 3",
    ),
    "microwave": ReceptacleLook(
        1.65,
        ((26, 18, 72, 78),),
        "box #3a3f46 20 8 98 92 4; box #f2e9c2 25 16 76 82 2; oval #d7e8ee 50 77 22 4; "
        "box #22262b 80 14 95 86 2; box #54e08a 82 19 93 30; "
        "oval #aaa 87.5 44 3 5; oval #aaa 87.5 60 3 5; poly #565d66 20 8 2 14 2 100 20 92; "
        "poly #12151a 16 24 6 28 6 80 16 76",
        "box #3a3f46 20 8 98 92 4; box #565d66 23 13 77 87 3; box #12151a 29 22 69 78 2; "
        "line #3b4048 2 36 60 52 34; box #d0d4d8 72 22 75 78 2; "
        "box #22262b 80 14 95 86 2; box #54e08a 82 19 93 30; oval #aaa 87.5 44 3 5; oval #aaa 87.5 60 3 5",
    ),
    "ottoman": ReceptacleLook(
        1.5,
        ((18, 8, 82, 52),),
        "box #4a2c14 10 88 18 98; box #4a2c14 82 88 90 98; box #a04a68 4 46 96 90 12; oval #c2688a 50 46 46 20; "
        "line #7c3450 2 4 64 96 64; "
        "oval #7c3450 28 46 2 2; oval #7c3450 72 46 2 2; oval #7c3450 50 38 2 2",
    ),
    "safe": ReceptacleLook(
        1.25,
        ((12, 18, 64, 84),),
        "box #4b545d 4 4 72 94 4; box #15181c 10 12 66 88 2; poly #66717c 72 4 98 14 98 100 72 94; "
        "poly #7d8994 77 16 93 22 93 88 77 82; "
        "oval #c8a83c 85 52 3 7; box #222 8 94 16 99; box #222 60 94 68 99",
        "box #4b545d 16 4 84 94 4; box #66717c 22 11 78 87 3; box #7d8994 27 17 73 81 3; "
        "oval #22262b 46 50 15 19; oval #c8a83c 46 50 9 11; "
        "line #22262b 3 46 50 46 38; box #c8a83c 64 36 69 64 2; box #222 20 94 28 99; box #222 72 94 80 99",
    ),
    "shelf": ReceptacleLook(
        1.6,
        ((8, 14, 92, 66),),
        "poly #4a4f55 16 76 34 76 19 98 16 98; poly #4a4f55 84 76 66 76 81 98 84 98; "
        "poly #d8ac74 10 58 90 58 98 68 2 68; box #a67c46 2 68 98 77",
    ),
    "sidetable": ReceptacleLook(
        1.0,
        ((12, 8, 88, 44),),
        "box #5f4228 12 44 19 98; box #5f4228 81 44 88 98; box #7c5836 12 48 88 68; box #946b44 18 51 82 65 2; "
        "oval #ddd 50 58 4 2.5; "
        "poly #b98d5e 14 26 86 26 98 44 2 44; box #7c5836 2 44 98 49 1",
    ),
    "sinkbasin": ReceptacleLook(
        1.5,
        ((16, 38, 84, 80),),
        "box #dfe4e8 0 34 100 96 4; oval #f9fbfc 50 62 46 30; oval #a9cfe0 50 64 39 23; "
        "oval #c9e4ef 50 67 34 18; oval #555 50 76 4 3; "
        "box #8f99a3 44 6 50 38 2; line #8f99a3 6 46 8 60 8 62 22; oval #d33 30 32 5 5; oval #38d 68 32 5 5",
    ),
    "sofa": ReceptacleLook(
        1.7,
        ((14, 22, 86, 72),),
        "box #3f7a5a 8 8 92 70 8; box #559772 12 14 49 60 6; box #559772 51 14 88 60 6; "
        "box #74b892 12 56 49 80 4; box #74b892 51 56 88 80 4; "
        "box #2f5f45 0 38 14 92 7; box #2f5f45 86 38 100 92 7; box #35694d 12 80 88 92; box #222 6 92 11 99; "
        "box #222 89 92 94 99",
    ),
    "stoveburner": ReceptacleLook(
        1.3,
        ((22, 10, 78, 60),),
        "poly #d3d8dc 12 10 88 10 98 74 2 74; oval #222 50 44 38 27; oval #c4451c 50 44 33 23; "
        "oval #222 50 44 27 18; oval #c4451c 50 44 21 14; "
        "oval #222 50 44 15 9; oval #c4451c 50 44 8 5; box #8f979d 2 74 98 96 2; oval #222 30 85 6 7; "
        "oval #222 70 85 6 7; line white 2 30 85 30 80; line white 2 70 85 73 81",
    ),
    "toaster": ReceptacleLook(
        1.3,
        ((24, 2, 76, 46),),
        "box #ccd3d9 8 40 92 94 14; poly #e6ebee 16 30 84 30 92 50 8 50; box #222 20 34 80 38 2; "
        "box #222 16 42 84 46 2; box #222 92 56 98 64 2; "
        "oval #444 22 76 6 8; line #fff 2 22 76 22 70; box #333 12 93 24 98; box #333 76 93 88 98",
    ),
    "toilet": ReceptacleLook(
        0.85,
        ((18, 2, 82, 24), (24, 42, 76, 68)),
        "box #f4f6f8 14 24 86 50 5; box #dfe5ea 10 20 90 28 3; box #b8c0c8 20 32 30 36 2; "
        "poly #eceff2 28 76 72 76 64 98 36 98; "
        "oval #fafbfc 50 64 40 20; oval #8fb8cc 50 64 29 13; oval #c3dfec 50 66 25 10",
    ),
    "toiletpaperhanger": ReceptacleLook(
        1.2,
        ((24, 36, 76, 78),),
        "box #aab2ba 6 4 22 34 4; box #aab2ba 78 4 94 34 4; box #8a939c 9 20 19 62 4; box #8a939c 81 20 91 62 4; "
        "box #c8ced4 16 50 84 58 2; oval #777 14 19 3 4; oval #777 86 19 3 4",
    ),
    "towelholder": ReceptacleLook(
        1.7,
        ((12, 21, 88, 57),),
        "box #c4a04a 2 4 10 34 3; box #c4a04a 90 4 98 34 3; box #e0bf6c 4 16 96 24 3; oval #7c6222 6 12 1.5 3; "
        "oval #7c6222 94 12 1.5 3",
    ),
    "tvstand": ReceptacleLook(
        1.7,
        ((6, 8, 94, 58),),
        "box #15171a 24 2 76 34 2; box #2f4f6f 26 5 74 31; box #15171a 44 34 56 40; "
        "poly #5a6068 8 38 92 38 98 58 2 58; box #2e3238 2 58 98 63; "
        "box #3d434b 4 63 96 94; box #1a1d22 8 67 36 90; box #1a1d22 64 67 92 90; box #707984 39 67 61 77; "
        "box #707984 39 80 61 90; box #111 8 94 14 99; box #111 86 94 92 99",
    ),
}
