"""The words of the pocket world: nouns, cultures, frames and culture-style phrasings in 16 languages.

Noun names are not written here: they come from Unicode CLDR by the emoji. What is written here is what CLDR has not:
which nouns are used, how a language says "in the Italian style", and a neutral modifier of about the same length.
`{n}` is the noun. Everything else in a phrasing is the modifier and is contiguous.
"""

# Common, concrete, and free of religion, people and national icons. English CLDR names (the key of the noun).
NOUNS = """
ant bat beaver bison butterfly cactus cat cow crab crocodile dog dolphin duck elephant fish flamingo giraffe gorilla
hedgehog horse jellyfish kangaroo koala lobster mushroom octopus owl parrot peacock penguin pig rabbit
rooster rose scorpion shark snail snake spider squid sunflower swan tulip turtle whale zebra
avocado banana broccoli carrot cherries cookie croissant cucumber doughnut egg eggplant garlic grapes hamburger
lemon onion pear pineapple pizza popcorn potato pretzel sandwich strawberry tomato watermelon teapot candy
accordion axe balloon basket bed bell bomb broom bucket candle chair crown door dress drum envelope flashlight
gloves guitar hammer headphone key kite ladder microphone microscope paintbrush pencil purse radio ring
saxophone scissors screwdriver shield socks telescope television trophy trumpet trombone violin window yarn
airplane anchor automobile bicycle bus castle cloud fire fountain helicopter house mountain parachute rainbow rocket
skateboard sun tent tractor train umbrella volcano
""".split()

HELD_OUT = """
bison hedgehog lobster swan zebra cucumber pretzel popcorn accordion basket dress kite microscope radio trombone window
bicycle castle helicopter tent
""".split()

# culture → (language, flag in the Twemoji set or None for the pan-Arab colours, CLDR flag emoji of the plain mention)
CULTURES = {
    "Arab": ("ar", None),
    "China": ("zh", "🇨🇳"),
    "France": ("fr", "🇫🇷"),
    "Germany": ("de", "🇩🇪"),
    "Italy": ("it", "🇮🇹"),
    "Japan": ("ja", "🇯🇵"),
    "Korea": ("ko", "🇰🇷"),
    "Netherlands": ("nl", "🇳🇱"),
    "Poland": ("pl", "🇵🇱"),
    "Portugal": ("pt", "🇵🇹"),
    "Russia": ("ru", "🇷🇺"),
    "Spain": ("es", "🇪🇸"),
    "Thailand": ("th", "🇹🇭"),
    "Turkey": ("tr", "🇹🇷"),
    "Ukraine": ("uk", "🇺🇦"),
}

ARAB_WORLD = {
    "ar": "العالم العربي",
    "zh": "阿拉伯世界",
    "ja": "アラブ世界",
    "ko": "아랍 세계",
    "th": "โลกอาหรับ",
    "de": "arabische Welt",
    "ru": "арабский мир",
    "it": "mondo arabo",
    "nl": "Arabische wereld",
    "pl": "świat arabski",
    "tr": "Arap dünyası",
    "uk": "арабський світ",
    "es": "mundo árabe",
    "pt": "mundo árabe",
    "fr": "monde arabe",
    "en": "Arab world",
}

FRAMES = {
    "ar": ("صورة: {x}", "رسم: {x}"),
    "zh": ("图片：{x}", "图画：{x}"),
    "ja": ("写真：{x}", "絵：{x}"),
    "ko": ("사진: {x}", "그림: {x}"),
    "th": ("รูปภาพ: {x}", "ภาพวาด: {x}"),
    "de": ("Bild: {x}", "Zeichnung: {x}"),
    "ru": ("картинка: {x}", "рисунок: {x}"),
    "it": ("immagine: {x}", "disegno: {x}"),
    "nl": ("afbeelding: {x}", "tekening: {x}"),
    "pl": ("obraz: {x}", "rysunek: {x}"),
    "tr": ("resim: {x}", "çizim: {x}"),
    "uk": ("зображення: {x}", "малюнок: {x}"),
    "es": ("imagen: {x}", "dibujo: {x}"),
    "pt": ("imagem: {x}", "desenho: {x}"),
    "fr": ("image : {x}", "dessin : {x}"),
    "en": ("picture: {x}", "drawing: {x}"),
}

# How each culture's own language puts its style on a noun.
NATIVE = {
    "Arab": ("{n} على الطراز العربي", "{n} بأسلوب عربي", "{n} بالطابع العربي"),
    "China": ("中国风格的{n}", "中式{n}", "具有中国特色的{n}"),
    "France": ("{n} de style français", "{n} à la française", "{n} dans le style français"),
    "Germany": ("{n} im deutschen Stil", "{n} nach deutscher Art", "{n} in deutscher Gestaltung"),
    "Italy": ("{n} in stile italiano", "{n} all'italiana", "{n} di stile italiano"),
    "Japan": ("和風の{n}", "日本風の{n}", "日本らしい{n}"),
    "Korea": ("한국풍의 {n}", "한국 스타일의 {n}", "한국식 {n}"),
    "Netherlands": ("{n} in Nederlandse stijl", "{n} op Nederlandse wijze", "{n} met Nederlandse vormgeving"),
    "Poland": ("{n} w stylu polskim", "{n} w polskim stylu", "{n} po polsku"),
    "Portugal": ("{n} de estilo português", "{n} à portuguesa", "{n} em estilo português"),
    "Russia": ("{n} в русском стиле", "{n} на русский лад", "{n} в российском стиле"),
    "Spain": ("{n} de estilo español", "{n} a la española", "{n} al estilo español"),
    "Thailand": ("{n}สไตล์ไทย", "{n}แบบไทย", "{n}ในสไตล์ไทย"),
    "Turkey": ("Türk tarzı {n}", "Türk stili {n}", "Türk usulü {n}"),
    "Ukraine": ("{n} в українському стилі", "{n} на український лад", "{n} по-українськи"),
}

DEMONYM = {
    "Arab": "Arab",
    "China": "Chinese",
    "France": "French",
    "Germany": "German",
    "Italy": "Italian",
    "Japan": "Japanese",
    "Korea": "Korean",
    "Netherlands": "Dutch",
    "Poland": "Polish",
    "Portugal": "Portuguese",
    "Russia": "Russian",
    "Spain": "Spanish",
    "Thailand": "Thai",
    "Turkey": "Turkish",
    "Ukraine": "Ukrainian",
}
ENGLISH = ("{d}-style {n}", "{n} in {d} style", "traditional {d} {n}")

# A modifier of the same build that names no culture: "ordinary", "modern".
NEUTRAL = {
    "ar": ("{n} على الطراز العادي", "{n} على الطراز الحديث"),
    "zh": ("普通风格的{n}", "现代风格的{n}"),
    "ja": ("普通の{n}", "現代風の{n}"),
    "ko": ("평범한 스타일의 {n}", "현대풍의 {n}"),
    "th": ("{n}สไตล์ธรรมดา", "{n}สไตล์สมัยใหม่"),
    "de": ("{n} im gewöhnlichen Stil", "{n} im modernen Stil"),
    "ru": ("{n} в обычном стиле", "{n} в современном стиле"),
    "it": ("{n} in stile comune", "{n} in stile moderno"),
    "nl": ("{n} in gewone stijl", "{n} in moderne stijl"),
    "pl": ("{n} w zwykłym stylu", "{n} w nowoczesnym stylu"),
    "tr": ("Sıradan tarzda {n}", "Modern tarzda {n}"),
    "uk": ("{n} у звичайному стилі", "{n} у сучасному стилі"),
    "es": ("{n} de estilo común", "{n} de estilo moderno"),
    "pt": ("{n} de estilo comum", "{n} de estilo moderno"),
    "fr": ("{n} de style ordinaire", "{n} de style moderne"),
    "en": ("ordinary-style {n}", "modern-style {n}"),
}
