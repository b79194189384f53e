"""How the things of a household look: a line of shapes for each kind, in the notation of `shapes`."""

from __future__ import annotations

from gtr_envs.alfworld.records import CLEAN, COOL, HOT, ON

PARCEL = (
    "box #b98a5a 12 30 88 94 3; box #d8b98c 44 30 56 94; box #d8b98c 12 56 88 66; oval #e33 38 22 12 8; "
    "oval #e33 62 22 12 8"
)

# The marks of a state, over the thing; what is sliced is cut, and the lamp that is on has a light instead.
MARKS = {
    HOT: (
        "line #ff2a10 7 20 30 14 20 26 12 20 2; line #ff2a10 7 50 26 44 16 56 9 50 0; "
        "line #ff2a10 7 80 30 74 20 86 12 80 2"
    ),
    COOL: (
        "line #35b6ff 5 80 2 80 34; line #35b6ff 5 66 10 94 26; line #35b6ff 5 94 10 66 26;"
        "line #35b6ff 5 18 62 18 94; line #35b6ff 5 4 70 32 86; line #35b6ff 5 32 70 4 86"
    ),
    CLEAN: (
        "poly #fff36b 16 0 21 15 36 20 21 25 16 40 11 25 -4 20 11 15;"
        "poly #fff36b 84 54 88 67 100 72 88 77 84 90 80 77 68 72 80 67"
    ),
}
GLOWS = {HOT: "#ff4a1c", COOL: "#4fc3ff", ON: "#ffe23a"}

THINGS = {
    "alarmclock": (
        "line dimgray 6 28 94 36 82; line dimgray 6 72 94 64 82; oval gold 27 24 14 14; oval gold 73 24 14 14;"
        "oval crimson 50 56 37 37; oval white 50 56 28 28; line black 5 50 56 50 34; line black 5 50 56 66 62"
    ),
    "apple": (
        "oval #d3202a 36 62 28 32; oval #d3202a 64 62 28 32; line saddlebrown 6 50 34 54 10;"
        "poly limegreen 54 24 80 6 80 24 62 32; oval lightpink 28 52 6 10"
    ),
    "baseballbat": (
        "poly burlywood 10 88 68 10 82 4 95 14 92 30 18 96; line saddlebrown 12 10 92 30 70; oval saddlebrown 10 92 8 8"
    ),
    "basketball": (
        "oval #f07a1c 50 54 42 42; line black 4 8 54 92 54; line black 4 50 12 50 96;"
        "line black 4 22 24 35 54 22 84; line black 4 78 24 65 54 78 84"
    ),
    "book": "box royalblue 18 8 84 96 4; box midnightblue 18 8 32 96 3; box gold 42 24 74 44; box white 32 87 84 93",
    "bowl": "poly #1f8a8a 5 42 95 42 86 74 66 92 34 92 14 74; oval #bfeeee 50 42 45 13; oval #7cc9c9 50 45 34 8",
    "box": (
        "box #b07a44 8 40 92 96; poly #d8a870 8 40 0 20 40 22 50 40; poly #d8a870 92 40 100 20 60 22 50 40;"
        "poly #5a3a1c 16 40 40 26 60 26 84 40; box #ecd7a8 44 40 56 62"
    ),
    "bread": (
        "box #c98542 5 44 95 90 16; oval #a8642a 26 46 21 16; oval #a8642a 50 43 21 17; oval #a8642a 74 46 21 16;"
        "line wheat 5 22 38 30 54; line wheat 5 46 34 54 50; line wheat 5 70 38 78 54"
    ),
    "butterknife": "box #dfe6ea 36 4 60 54 12; box #9fb3bd 42 46 56 98 6",
    "candle": (
        "box #fff1c9 34 38 66 96 4; box #e8cf8e 34 38 42 70 4; line black 4 50 40 50 28;"
        "poly darkorange 50 0 62 20 50 32 38 20; oval yellow 50 21 6 9"
    ),
    "cd": (
        "oval silver 50 52 44 44; poly violet 50 52 88 30 94 52; poly aqua 50 52 12 74 6 52; "
        "poly gold 50 52 40 94 58 95; "
        "oval white 50 52 14 14; oval black 50 52 6 6"
    ),
    "cellphone": "box #111 26 4 74 98 9; box #38b6ff 31 14 69 82; oval white 50 90 4 4; line gray 3 42 9 58 9",
    "cloth": (
        "poly mediumorchid 6 34 46 20 94 32 84 62 96 88 48 80 10 94 20 62; line plum 5 24 44 46 60 30 80; "
        "line plum 5 62 34 66 70"
    ),
    "creditcard": "box #22337c 4 24 96 84 7; box black 4 32 96 44; box gold 12 52 32 68 3; line white 5 44 72 86 72",
    "cup": "poly #35b56a 18 12 82 12 70 96 30 96; oval #c6f2d4 50 12 32 8; line #8fe0ae 6 32 30 38 82",
    "dishsponge": (
        "box #ffd92e 6 44 94 88 8; box #2f9a48 6 38 94 56 6; oval #d9a800 24 70 6 5; oval #d9a800 52 76 7 5; "
        "oval #d9a800 78 68 6 5"
    ),
    "egg": "oval #f3dcb8 50 58 32 39; oval white 38 42 8 11",
    "fork": (
        "line silver 6 32 4 32 34; line silver 6 44 4 44 34; line silver 6 56 4 56 34; line silver 6 68 4 68 34;"
        "box silver 29 30 71 46 8; box silver 44 40 56 98 6"
    ),
    "glassbottle": (
        "box #9adcf0 28 38 72 97 10; poly #9adcf0 28 48 42 22 58 22 72 48; box #9adcf0 42 6 58 30; "
        "box #e4f8ff 34 48 42 88 3; box #4a9fc0 40 3 60 12 2"
    ),
    "handtowel": (
        "box #ff7f50 22 12 78 84 3; box #fff 22 60 78 68; line #ff7f50 4 28 84 28 96; line #ff7f50 4 40 84 40 96;"
        "line #ff7f50 4 52 84 52 96; line #ff7f50 4 64 84 64 96; line #ff7f50 4 75 84 75 96"
    ),
    "kettle": (
        "line #333 8 22 44 26 14 70 14 76 44; poly #c0392b 14 94 18 56 32 42 66 42 80 56 84 94;"
        "poly #c0392b 78 62 98 40 100 50 82 80; oval #333 49 40 8 6; oval #e88 34 64 6 12"
    ),
    "keychain": (
        "oval #888 34 28 26 24; oval #eee 34 28 16 14; line #d4a017 10 46 46 80 92; line #d4a017 8 64 70 76 60;"
        "line #d4a017 8 74 84 88 74; line #b5651d 9 26 48 22 94; line #b5651d 7 24 82 36 84"
    ),
    "knife": (
        "poly #e8eef2 40 2 58 18 62 60 40 60; box #111 38 58 60 98 6; oval silver 49 70 3 3; oval silver 49 86 3 3"
    ),
    "ladle": "line #7d7d88 9 66 4 70 14 58 74; oval #7d7d88 38 76 32 20; oval #4b4b55 38 70 26 9",
    "laptop": (
        "box #444 14 12 86 66 4; box #6ecbff 19 17 81 60; poly silver 14 66 86 66 99 90 1 90; "
        "poly #777 24 70 76 70 80 80 20 80"
    ),
    "lettuce": (
        "oval #3f9a30 28 62 24 28; oval #3f9a30 72 62 24 28; oval #4fb53c 50 44 32 30; oval #4fb53c 50 74 36 22;"
        "oval #9be06c 50 60 22 22; line #e4f9c8 5 50 42 50 90; line #e4f9c8 4 50 64 34 50; line #e4f9c8 4 50 64 66 50"
    ),
    "mug": (
        "line #e2603a 10 64 38 90 38 90 74 64 78; box #e2603a 12 20 68 96 8; oval #ffd9c8 40 21 28 9; "
        "oval #6b3a1e 40 22 22 6"
    ),
    "newspaper": (
        "poly #f4f0e4 10 10 90 6 92 92 12 96; line #222 9 18 22 82 19; line #888 4 18 36 46 35; "
        "line #888 4 18 46 46 45; "
        "line #888 4 18 56 46 55; line #888 4 18 66 84 64; line #888 4 18 78 84 76; box #666 52 34 84 56"
    ),
    "pan": "line #6b4a34 13 62 52 96 20; oval #222 42 62 40 32; oval #4d4d4d 42 60 32 24",
    "papertowelroll": (
        "box #8b5a2b 14 90 86 98 3; box #8b5a2b 46 2 54 20; box white 22 10 78 92 6; oval #e8e8f4 50 12 28 7; "
        "oval #8b5a2b 50 12 8 3; "
        "line #9fc9ff 3 24 36 76 36; line #9fc9ff 3 24 62 76 62; line #9fc9ff 3 40 20 40 90; line #9fc9ff 3 60 20 60 90"
    ),
    "pen": (
        "line #1747d1 13 20 82 78 20; line #0c2470 15 62 38 84 14; poly #222 8 94 12 76 24 86; "
        "line silver 4 74 34 92 20"
    ),
    "pencil": (
        "line #ffc21a 14 24 78 80 18; line #ff8fa3 14 78 20 88 10; line silver 14 74 25 80 18; "
        "poly #f3d7a4 6 96 17 73 30 85; poly #222 6 96 10 86 15 91"
    ),
    "peppershaker": (
        "poly #4a3021 34 40 66 40 76 97 24 97; oval #4a3021 50 32 22 17; oval #2a1a10 50 12 9 9; "
        "line #8a6a50 5 30 60 70 60"
    ),
    "pillow": (
        "poly #b7c7f5 4 26 20 30 80 30 96 26 90 56 96 88 78 82 22 82 4 88 10 56; oval #dbe4ff 48 54 26 14; "
        "line #8398dc 3 10 30 22 36; line #8398dc 3 90 30 78 36"
    ),
    "plate": "oval #f8f8f8 50 62 48 30; oval #8fb4e8 50 61 38 23; oval #fff 50 61 33 19",
    "plunger": "line #d2a060 10 50 2 50 60; poly #b3262a 34 58 66 58 82 92 18 92; oval #7c1417 50 92 33 6",
    "pot": (
        "line #333 8 4 58 20 50; line #333 8 96 58 80 50; box #8d99a6 14 44 86 94 8; oval #b8c4d0 50 42 40 10;"
        "oval #222 50 28 8 6; line #5d6976 4 16 60 84 60"
    ),
    "potato": (
        "oval #b8864b 44 62 36 30; oval #b8864b 62 54 32 30; oval #7a5426 34 58 4 3; oval #7a5426 58 44 4 3; "
        "oval #7a5426 66 68 4 3; oval #7a5426 46 78 4 3"
    ),
    "remotecontrol": (
        "box #3a3a44 32 3 68 98 7; oval #ff3b30 50 14 6 6; oval white 40 34 4 4; oval white 50 34 4 4; "
        "oval white 60 34 4 4; "
        "oval white 40 48 4 4; oval white 50 48 4 4; oval white 60 48 4 4; oval #38d 50 70 11 11; "
        "box #ffcc00 40 86 60 92"
    ),
    "saltshaker": (
        "poly #e8f4ff 30 36 70 36 78 97 22 97; box silver 28 14 72 40 10; oval #555 42 22 3 3; "
        "oval #555 58 22 3 3; oval #555 50 29 3 3; box white 30 66 70 92"
    ),
    "scrubbrush": (
        "line #2fa8a0 10 50 4 50 56; box #2fa8a0 26 52 74 66 6; line #fff 6 30 66 26 94; line #fff 6 40 66 38 96;"
        "line #fff 6 50 66 50 96; line #fff 6 60 66 62 96; line #fff 6 70 66 74 94"
    ),
    "soapbar": (
        "box #f7a8c4 8 52 92 90 16; box #ffd3e2 22 60 78 74 8; oval #dff4ff 26 36 12 12; oval #dff4ff 50 26 9 9; "
        "oval #dff4ff 70 40 10 10"
    ),
    "soapbottle": (
        "box #f06fb0 26 44 74 97 8; box #fff 34 58 66 82 4; box #fff 44 26 56 46; "
        "line #fff 10 56 24 22 24 20 34; oval #f06fb0 50 70 9 9"
    ),
    "spatula": (
        "box #333 26 3 74 44 5; line #bbb 4 38 10 38 38; line #bbb 4 50 10 50 38; line #bbb 4 62 10 62 38; "
        "box #c0392b 45 44 55 98 4"
    ),
    "spoon": "oval #dcdce4 50 24 19 23; oval #a4a4b0 50 22 11 14; box #dcdce4 44 42 56 98 6",
    "spraybottle": (
        "poly #5ad1ff 30 48 44 34 58 34 72 48 72 97 30 97; box #ff9d00 42 12 74 32 4; "
        "poly #ff9d00 26 12 44 12 44 24 26 22; line #ff9d00 7 38 28 30 44; box #fff 36 60 66 84"
    ),
    "statue": (
        "box #55585e 22 86 78 97; poly #9a9ea6 34 86 38 44 62 44 66 86; oval #9a9ea6 50 26 15 17; "
        "line #9a9ea6 9 40 50 20 66 34 76; line #9a9ea6 9 60 50 82 30"
    ),
    "teddybear": (
        "oval #8a5526 28 14 12 12; oval #8a5526 72 14 12 12; oval #a86a32 24 62 13 11; oval #a86a32 76 62 13 11; "
        "oval #a86a32 34 90 15 9; "
        "oval #a86a32 66 90 15 9; oval #a86a32 50 68 26 26; oval #a86a32 50 28 27 24; oval #e3b98a 50 68 15 16;"
        "oval #e3b98a 50 36 12 9; oval #111 40 24 4 4; oval #111 60 24 4 4; oval #111 50 33 5 3"
    ),
    "tennisracket": (
        "line #1d6b2c 11 52 56 86 96; oval #1d6b2c 36 34 34 33; oval #f7ffe0 36 34 26 25; "
        "line #8a8 3 36 9 36 59; line #8a8 3 24 12 24 56; "
        "line #8a8 3 48 12 48 56; line #8a8 3 11 34 61 34; line #8a8 3 14 22 58 22; line #8a8 3 14 46 58 46"
    ),
    "tissuebox": (
        "poly white 32 44 38 10 52 22 66 4 68 44; box #6f86e8 8 42 92 96 4; oval #34448c 50 44 26 6; "
        "oval #b9c6ff 28 72 8 8; oval #b9c6ff 72 72 8 8"
    ),
    "toiletpaper": (
        "box #fdfdfd 16 34 84 92 6; oval #fdfdfd 50 92 34 6; oval #e8e4dc 50 34 34 13; oval #a88a68 50 34 12 5; "
        "line #d8d4cc 3 18 60 82 60"
    ),
    "toiletpaperroll": (
        "box #fff 50 34 88 98 2; oval #fff 44 44 40 38; oval #e4dfd4 44 44 30 28; oval #fff 44 44 24 22; "
        "oval #8a6844 44 44 13 12; line #ccc 3 54 76 86 76"
    ),
    "tomato": (
        "oval #e8402a 50 60 44 34; poly #2e8b2e 50 16 58 28 78 24 64 36 72 48 50 38 28 48 36 36 22 24 42 28; "
        "oval #ff9a84 26 58 7 9"
    ),
    "towel": (
        "box #35b8b0 10 30 90 96 8; box #74dcd5 10 30 90 52 10; line #1c827c 4 12 64 88 64; "
        "line #1c827c 4 12 80 88 80; box #fff 64 30 74 96"
    ),
    "vase": (
        "line #2e8b2e 4 50 40 36 16; line #2e8b2e 4 50 40 64 14; oval #ff5c8a 34 12 11 11; "
        "oval #ffd23a 66 11 11 11; poly #7a3fb0 38 36 62 36 58 50 80 68 66 97 34 97 20 68 42 50; "
        "line #c9a6ee 4 26 70 74 70"
    ),
    "watch": (
        "box #6b3a1e 38 2 62 98 5; oval gold 50 50 30 30; oval white 50 50 23 23; line black 4 50 50 50 34; "
        "line black 4 50 50 62 54; box gold 78 46 86 54"
    ),
    "wateringcan": (
        "line #2a9d5a 7 62 44 92 40 90 78 72 84; box #3cc474 30 44 76 96 5; poly #3cc474 32 88 32 72 12 38 4 42;"
        "poly #2a9d5a 0 34 18 28 20 40 2 50; oval #1f7a44 53 45 22 6"
    ),
    "winebottle": (
        "box #1f4a2a 30 42 70 97 8; poly #1f4a2a 30 52 43 32 57 32 70 52; box #1f4a2a 43 8 57 40; "
        "box #8c1c2c 42 2 58 20 3; box #f3e6c4 32 58 68 84; line #8c1c2c 4 38 70 62 70"
    ),
    "desklamp": (
        "oval #333 44 93 30 6; line #333 6 44 92 28 56 60 28; poly #2d6fd0 50 34 66 10 92 38 66 48; "
        "poly #fff6c0 66 48 92 38 86 50 72 54"
    ),
    "floorlamp": (
        "oval #222 50 96 24 4; line #222 5 50 96 50 30; poly #e8d3a0 34 4 66 4 80 36 20 36; line #b58a3a 4 20 36 80 36"
    ),
}
