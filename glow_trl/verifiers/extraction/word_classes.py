"""The words that tell whether an answer is asserted, by class, in several languages, and texts as their classes."""

import re
from functools import lru_cache


# One letter for each class.
_WORDS = {
    # negations; what puts an error right ("fixing the mistake"); what is right; what takes a clause ("no way that")
    "n": """not never no nor neither cannot refuse refuses unlikely hesitate disagree none nobody nothing without
        hardly nope nicht kein keine keinen nie nein non pas jamais ningún nunca jamás não nem не нет ни никогда ≠
        \\ne \\neq != 不是 不为 不等于 没 没有 并不 并非 绝非 绝不 不可能 不应 不应该 不会 不能 ない""",
    "j": """fix fixed fixing correcting corrected avoid avoiding avoided repairing spotted adding including
        accounting correction""",
    "r": """right correct true valid acceptable accepted allowed permitted possible accurate work works worked fit
        fits hold holds satisfy satisfies solve solves check count add match matches richtig korrekt wahr vrai
        vraie exact correcto correcta cierto certo correto correta corretto corretta vero верно правильно
        правильный 正确 对 成立 符合 正しい sense stimmt""",
    "R": "case way chance mean means meant imply implies follow follows evidence reason longer circumstances",
    # what is said to be the answer, and what else an answer may be called
    "A": """answer answers solution guess conclusion response reasoning approach method derivation argument logic
        attempt réponse antwort lösung respuesta resposta risposta solución ответ 答案""",
    "a": """value result option choice number box output total sum figure one computation calculation ergebnis
        resultado risultato quantity""",
    # conditions, would, could, perhaps, whether
    "i": """if unless suppose supposing assume imagine pretend hypothetically wenn falls si если 如果 若
        假如 假设 要是 倘若 除非 もし""",
    "D": "otherwise else alternatively sonst sinon sino-no altrimenti senão иначе 否则",
    "m": "would würde wäre hätte serait aurait sería habría seria teria sarebbe avrebbe бы 'd",
    "M": "might could may könnte pourrait podría poderia potrebbe",
    "Y": """perhaps maybe possibly conceivably vielleicht eventuell peut-être quizás quizá talvez forse возможно
        наверное 也许 或许 可能 恐怕 大概 かもしれ""",
    "q": "whether wonder wondering ob ли 是否 か",
    # persons and things other than the writer, some of them, anyone, the writer, the problem
    "o": """student students friend friends teacher professor colleague classmate neighbor neighbour brother sister
        textbook book author guy partner opponent tutor wikipedia internet website forum calculator model chatgpt
        ai assistant reviewer intuition freund schüler ami amis élève élèves amigo amigos alumno estudiante aluno
        amico studente studenti друг ученик 同学 学生 朋友 别人 老师 他 她 有人 chatbot blog edition hint wolfram""",
    "O": """someone somebody everyone everybody anybody anyone solver solvers beginner beginners novice novices
        some many most several few leute manche jemand einige viele alguien algunos muchos alguns muitos alguém
        alcuni molti qualcuno certains quelqu'un beaucoup некоторые многие кто-то uno""",
    "1": "one you man",
    "p": "I we let ich wir je j'ai nous yo noi я мы 我 我们",
    "F": "problem question statement theorem formula lemma equation definition identity table graph",
    "d": "according laut selon según segundo secondo согласно",
    # conclusions, contrasts, joints
    "c": """so therefore thus hence consequently accordingly daher somit donc entonces portanto quindi значит итак
        所以 因此 故 \\implies \\Rightarrow \\therefore""",
    "k": """but however yet actually really fact reality instead whereas while nonetheless aber sondern jedoch
        tatsächlich mais cependant pero sino però ma но однако 但 但是 而是 其实 实际上 mas""",
    "&": "and which und et и",
    "|": "or oder ou или 或",
    # to be, to get, to say: an "s" adds the third person, "P" is past
    "b": """is are be was were been being equal equals = est ist sind war es era é está estava è было будет lautet
        become becomes seem seems look looks remains 是 为 seemed am""",
    "e": """get gets got obtain obtains obtained find finds found give gives gave giving leave leaves leaving left
        yield yields lead leads led produce produces reach reaches reached arrive arrives end ends made make makes
        得 得到 contains contain erhält erhalten obtient obtenons получим ergibt making""",
    "g": "have has had having",
    "s": """say saying tell reply replied think thinking believe claim claiming conclude concludes concluded
        announce declare suggest suggests suggested propose proposes swear bet guessed argue insist suspect dire
        disent sagen sagte schreiben decir dicen dijo dizer disse dicono penser croire glauben denken говорят
        сказал скажет думают 说 写 认为 觉得 以为 猜 meinen zu-sagen répondent répondre antworten antwortet
        responden responder respondem rispondono rispondere diriam direbbero dirían diraient скажут отвечают
        ответить 会得到 会得 得出 glaube direi told pensent croient piensan creen pensano credono acham pensam
        считают""",
    "E": """write writes wrote writing put puts pick picks picked choose chooses chose report reports reported call
        offer mark marked box list lists listed""",
    "S": """says thinks claims believes guesses insists argues asserts swears maintains alleges suspects sagt
        behauptet denkt glaubt meint dit pense croit cree piensa diz acha pensa говорит думает считает said claimed""",
    "P": "thought believed argued insisted suspected dachte glaubte pensaba almost-wrote",
    "C": """claim suggestion hypothesis conjecture proposal rumor rumour proposed alleged so-called purported
        hypothetical distractor decoy""",
    "H": "what",
    "K": "because since denn weil puisque porque perché потому 因为",
    "W": "wait oops hmm sorry",
    "X": "ignores forgets overlooks neglects omits fails fail failed miscounts",
    "w": "✗ ✘ ❌ 错 误 错误 間違 間違い 誤り 違います 忘 不然 漏",
    "x": "except excepting besides 排除 舍去",
    "t": "first initial initially originally previously earlier previous original old 一开始 起初 最初",
    "f": """the a an my our your of in at for with by as do does did final finally der die ein eine dass le la les
        un une que el los o os um uma il lo che di de du à al в на что here will can must shall should just 's
        quite very su seine votre ought""",
    "h": "it that this these those which das dies ce cela ça c'est eso esto isso isto questo это 这 那 此 该",
    "T": "to zu для",
    "J": "yes yeah indeed exactly oui ja sí да 是的",
    "G": "less more larger smaller greater higher lower bigger fewer different",
    "B": "bound bounds estimate example heuristic",
    "3": "error",
    "V": "there",
    "N": "he she they",
    "L": "other others another everything anything remaining rest",
    "u": "number probability chance fraction percentage percent count amount proportion product average ways",
    "y": """also only still then even often sometimes always too rather likely probably certainly definitely
        clearly obviously surely well please almost nearly""",
}
_CLASS = {word: letter for letter, words in _WORDS.items() for word in words.split()}
_STEMS = (
    # errors; what is done with them; what an answer does that is one
    (
        "w",
        r"""(?:wrong|incorrec|mista[ck]|erron|err(?:eu?r|ad[oa])|naiv|careless|mis(?:typ|count|appl|interp|concep|underst|judg)|forgot|overlooked|hast[iy]|tempt|mislead|misread|miscalc|misprint
        |fals(?:[aeo]?|ch|ely)$|fehler|flaw|fallac|bogus|invalid|untrue|inaccura|faux|fausse|equivocad|mal$|sbagl|невер
        |неправ|ошиб|trap$|pitfall|blunder|slip|typo|oversight|fool|absurd|inconsisten|nonsens|impossib|extraneous|spurious
        |premature|sloppy|sloppil|lazy|lazily|superficial|kidding|joking|refuted|disprov|debunk
        |placeholder|dummy|nope$)""",
    ),
    (
        "x",
        r"""(?:reject|discard|exclud|eliminat|disregard|dismiss|ignor|forget|forgot|scratch|replac|retract|withdr|abandon
        |revok|deny|denie|disput|doubt|strike|cancel|unlike|beware|delete|verwer|rejet|rechaz|descart|scart
        |отверг|statt$|anstatt|вместо)""",
    ),
    ("X", r"(?:contradict|violat|overcount|undercount|double-?count)"),
)
_STEM = tuple((letter, re.compile(pattern, re.VERBOSE)) for letter, pattern in _STEMS)
# Several words of one class
_PHRASES = (
    ("S", "dice que"),
    ("n", "not as if|no (?:chance|way|possibility)"),
    ("Y", "no idea|not (?:\\w+ )?(?:sure|certain|convinced|confident)|(?:just|only) guessing"),
    ("z", "mistakes|errors|false (?:positive|negative|alarm)s?"),
    (
        "Z",
        r"count\w* (?:\w+ ){0,4}twice|twice counted|was (?:my|the|our) answer|used to be (?:my|the|our)"
        r"|(?:(?<=\bI\s)|(?<=\bwe\s))(?:should have|still (?:need|have) to|(?:also )?need to|must also)\b",
    ),
    ("i", "in (?:the )?case|as long as"),
    (
        "P",
        "(?:almost|nearly) (?:wrote|said|answered|put|chose|picked|concluded)"
        "|(?:going|about|inclined) to (?:say|answer|write)",
    ),
    (
        "f",
        "not only|if and only if|(?:even|as) if|nothing but"
        "|(?:can(?:'t|not)|could(?:n't| not)) be anything (?:but|other than)"
        "|none other than|no (?:less|more) than|没错|不错",
    ),
    (
        "x",
        "(?:rather|other) than|instead of|opposed to|anything (?:but|except)|(?:far|different) from"
        r"|(?:rul|cross)\w+ (?:\w+ )?out|au lieu d|en vez d|em vez d|invece d|tak(?:e|ing) (?:that|it|this) back",
    ),
    (
        "w",
        "off by|too (?:big|small|large|high|low|many|few|much|little)"
        r"|(?:different|another|other) (?:question|problem|part|case|version|test|exam|exercise)\b"
        r"|(?:previous|earlier|old) (?:version|edition)"
        r"|(?:(?<=\bI\s)|(?<=\bwe\s))(?:missed|dropped|lost|omitted)\b|une? (?:error|erreur|errore)|um erro|ein fehler"
        r"|(?:common|frequent|typical|classic|usual|popular|arithmetic|silly|an) (?:\w+ )?(?:errors?|guess|answer)\b"
        r"|(?:example|sample|old|previous|outdated) (?:answer|solution)\b"
        r"|was (?:only |just )?(?:my|our|a) (?:\w+ )?guess"
        r"|不(?:对|正确|成立|符合)|(?:easy|natural)(?= to (?:say|answer|think|conclude|guess|assume|believe)\b)",
    ),
    ("u", "(?:number|sum|how many) of"),
    ("b", "(?:turn|prove)(?:s|d|ed)? (?:out to be|to be|out)"),
    (
        "2",
        "(?:my|our|an?) (?:first|initial|old|original|previous) "
        "(?:guess|try|attempt|thought|idea|answer|draft|instinct)",
    ),
    ("W", r"h[oa](?:ld|ng) on|oh,? no|no,? wait|not so fast|let me (?:re\w+|think again)"),
    ("s", "c[ao]me up with"),
    ("t", r"used to(?= \w)|at first"),
    ("k", "in (?:fact|reality|truth)"),
)
_CJK = sorted((word for word in _CLASS if "\u3040" <= word[0] <= "\u9fff"), key=len, reverse=True)
_TOKEN = re.compile(
    r"(?=[^\W\d_])(?:"  # most places begin no phrase
    + "|".join(f"(?P<c{letter}_{index}>{said})".replace(" ", r"\s+") for index, (letter, said) in enumerate(_PHRASES))
    + r")|(?P<value>\$\$[^$]+\$\$|\$[^$]+\$|\\\(.+?\\\)|\\\[.+?\\\]|\\boxed\s*\{(?:[^{}]|\{[^{}]*\})*\}"
    r"|\d[\d.,]*(?<![.,])|\([A-J]\)|(?<![a-zA-Z])(?-i:[B-HJ-Z])(?![a-zA-Z'’])"
    r"|(?<![a-zA-Z])(?-i:A)(?=\W*(?:$|\b(?:is|are|was|and|or|nor|but)\b)))"
    rf"|(?P<word>(?=[\u3040-\u9fff])(?:{'|'.join(_CJK)})|[✗✘❌≠]|\\[a-zA-Z]+|!=|=|[^\W\d_\u3040-\u9fff]+(?:['’-][^\W\d_\u3040-\u9fff]+)*)"
    r"|(?P<mark>[.,;:!?()。，；：！？、—–]|-(?=\s))",
    re.IGNORECASE | re.DOTALL,
)
_MARKS = str.maketrans("。，；：！？、—–-()", ".,;:!?,,,,,,")


_ELIDED = re.compile(r"^(?:n|d|l|qu|s)'(?=\w{3})")


@lru_cache(maxsize=1 << 14)
def _class_of(word: str) -> str:
    lower = word if word == "I" else word.lower().replace("’", "'")
    lower = _ELIDED.sub("", lower)
    if letter := _CLASS.get(lower):
        return letter
    if lower.endswith("n't"):
        return _CLASS.get(lower[:-3], "") + "n"  # isn't, wouldn't, don't
    stem, apostrophe, ending = lower.partition("'")
    if apostrophe:
        letter = "p" if stem == "i" else _CLASS.get(stem, "z")
        if ending == "s":
            return "Q" if letter in "oO1z" else letter + "b"  # the student's, that's
        return letter + {"d": "m", "m": "b", "re": "b"}.get(ending, "")
    if lower.endswith(("amos", "emos", "imos", "iamo")):
        return "p"  # multiplicamos, moltiplichiamo
    if lower.endswith("s") and _CLASS.get(lower[:-1]) == "o":
        return "o"
    for letter, pattern in _STEM:
        if pattern.match(lower):
            return letter
    return "y" if lower.endswith("ly") else "z"


_ERROR_UNDONE = re.compile(r"[nj][fzaALyhe]{0,2}[wxXZ3]")  # no mistake, not wrong, fixing the error, never ignores


def tokens(text: str) -> tuple[str, list[int]]:
    """A letter for each word of the text, `v` for a value and `z` for a word that tells nothing, and where it is."""
    found, starts = [], []
    for match in _TOKEN.finditer(text):
        kind, said = match.lastgroup or "", match.group()
        if kind == "mark":
            letters = said.translate(_MARKS)
        elif kind == "value":
            letters = "v"
        elif kind != "word":
            letters = kind[1]
        elif said == "I" or len(said) > 1 or not said.isascii() or said in "a=":
            letters = _class_of(said)
        else:
            continue
        found.append(letters)
        starts.extend([match.start()] * len(letters))
    return _ERROR_UNDONE.sub(lambda match: "z" * len(match.group()), "".join(found)), starts


@lru_cache(maxsize=1 << 10)  # what leads to an answer is mostly alike
def classes(text: str) -> str:
    """A letter for each word of the text."""
    return tokens(text)[0]
