"""Each rule of the policy in docs/verifiers.md, with answers that it accepts and near ones that it must not accept."""

import pytest

from glow_trl.verifiers import verify_batch


RULES = {
    "what is said to equal a value must agree": (
        [("x=4=4.0", "4"), (r"x=\frac13=0.333", "0.333")],
        [("x=0=42", "42"), ("x=3=5", "5"), (r"x=7 \wedge y=3", "3")],
    ),
    "a set with the empty set in it has a member": (
        [(r"\{\{1,2\}\}", r"\{1,2\}"), (r"\varnothing", r"\{\}")],
        [(r"\{\emptyset\}", r"\emptyset"), (r"\{\{\}\}", r"\emptyset")],
    ),
    "a pair is no number twice": (
        [(r"\frac12 \text{ or } 0.5", "0.5"), ("2 or 2", "2"), (r"\{1,1,2\}", r"\{1,2\}"), (r"\{3,3\}", r"\{3\}")],
        [
            ("x=5,y=5", "5"),
            ("0,0", "0"),
            ("5", "(5,5)"),
            ("(2,2)", "2"),
            ("1", "[1,1]"),
            ("2,2", "2"),
            ("7", "7,7"),
            ("1,1,2", "1,2"),
        ],
    ),
    "a solved gold wants a solved answer": (
        [
            *(("-x >= -4", r"x \le 4"), ("(-1,3)", "|x-1|<2"), ("[-3,3]", r"|x|\le 3"), ("3", "2x=6")),
            *(("z<-2 or z>2", "|z|>2"), ("3-x", "x+y=3"), (r"x\ne 2", r"(-\infty,2)\cup(2,\infty)")),
            (r"(-\infty,4]\cup\{7\}", r"b \le 4 \text{ or } b = 7"),
        ],
        [
            *(("x^2-7x+12<0", "(3,4)"), ("|x-1|<2", "(-1,3)"), ("2x=6", "x=3"), ("x^2=9", r"x=\pm3")),
            *(("(x-2)(x-3)=0", r"x=2 \text{ or } x=3"), ("3<2x-1<5", "2<x<3"), ("4y<8", "y<2")),
            *(("(-2,2)", "|z|>2"), ("|x|>2", r"(-\infty,-2)\cup(2,\infty)"), ("7=5", "5")),
        ],
    ),
    "what is still to be computed is no answer": (
        [
            ("2^n", r"\sum_{k=0}^n \binom{n}{k}"),
            (r"\frac{\pi^2}{6}", r"\sum_{n=1}^\infty \frac{1}{n^2}"),
            ("4!", "24"),
        ],
        [(r"\int_0^2 x\,dx", "2"), (r"\gcd(8,12)", "4"), (r"\sum_{k=1}^4 k", "10"), (r"\max(1,2)", "2")],
    ),
    "floors and ceilings are compared far and near": (
        [
            (r"\lfloor\frac{n+1}{2}\rfloor", r"\lceil\frac n2\rceil"),
            (r"\lfloor x\rfloor + 3", r"\lfloor x+3\rfloor"),
            (r"-\lfloor -x\rfloor", r"\lceil x\rceil"),
        ],
        [
            (r"\lfloor\frac{2n-1}{4}\rfloor", r"\lfloor\frac{2n-1}{5}\rfloor"),
            (r"\lfloor\frac{n}{100}\rfloor", r"\lfloor\frac{n}{101}\rfloor"),
            (r"\lfloor x\rfloor+1", r"\lceil x\rceil"),
            (r"\lceil x\rceil-1", r"\lfloor x\rfloor"),
            (r"\lceil\frac{x}{300}\rceil", r"\lceil\frac{x}{301}\rceil"),
        ],
    ),
    "factorials, binomials and what is rounded are compared to many digits": (
        [
            *(
                ("(n+1)n!", "(n+1)!"),
                (r"\frac{n}{n!}", r"\frac{1}{(n-1)!}"),
                (r"\frac{n!}{k!(n-k)!}", r"\binom{n}{k}"),
            ),
            *(
                (r"\frac{n}{7}\lfloor\frac{n}{3}\rfloor", r"\lfloor\frac n3\rfloor\frac n7"),
                (r"\frac{(2n)!}{n!}", r"n!\binom{2n}{n}"),
            ),
        ],
        [
            ("(n+1)n!", "n!"),
            (r"\binom{n}{k}", r"\binom{n}{k+1}"),
            (r"\frac{n}{n!}", r"\frac{1}{n!}"),
            ("(2n)!", "2n!"),
        ],
    ),
    "a fraction takes one sign without braces": (
        [
            *((r"\frac\pi2", r"\frac{\pi}{2}"), (r"\frac \pi 4", r"\pi/4"), (r"e^{\frac\pi4}", r"e^{\pi/4}")),
            *((r"\frac x\pi", r"\frac{x}{\pi}"), (r"\frac\alpha\beta", r"\alpha/\beta"), (r"\frac12", "0.5")),
        ],
        [(r"\frac\pi2", r"\frac{2}{\pi}"), (r"\frac\pi24", r"\frac{\pi}{24}"), (r"\frac\pi3", r"\frac{\pi}{2}")],
    ),
    "what stands beside a number multiplies it, or is a proper fraction, or makes it none": (
        [(r"5\frac12", "5.5"), ("2[x+1]", "2x+2"), ("5(7)", "35")],
        [(r"5\frac{14}{2}", "12"), ("5 [7]", "12"), (r"5\quad 7", "12"), ("5 7", "57")],
    ),
    "infinity is no number, and there are two": (
        [
            *(("positive infinity", r"\infty"), (r"\text{negative infinity}", r"-\infty")),
            ("infinitely many", r"\infty"),
        ],
        [
            *((r"\infty-\infty", "0"), (r"\frac{\infty}{\infty}", "1"), (r"\text{negative infinity}", r"\infty")),
            (r"\infty", "-1"),
        ],
    ),
    "a mark between thousands is none of the number": (
        [("1'234", "1234"), ("12'345'678.5", "12345678.5")],
        [("1'234", "1.234"), ("1'23", "123"), ("f'(2)", "f(2)")],
    ),
    "a derivative is another function": (
        [("f'(2)", "f'(2)"), (r"f^{\prime}(2)", "f'(2)"), ("2y'", "y'+y'")],
        [("f'(2)", "f(2)"), ("y''", "y'"), ("y'+1", "y+1"), (r"f^\prime(x)", "f(x)")],
    ),
    "a logarithm without a base may be the natural one": (
        [(r"\log 3", r"\ln 3"), (r"2\log x", r"\ln x^2"), (r"x + \log(x+1)", r"\ln(x+1) + x")],
        [(r"\log_2 3", r"\ln 3"), (r"\log 3", r"\ln 4"), (r"\log_{10} 3", r"\ln 3"), (r"\log 1000", r"\ln 3")],
    ),
    "signs in a tuple are chosen one by one": (
        [(r"(\pm 1, \pm 2)", "(1,2),(1,-2),(-1,2),(-1,-2)"), (r"(\pm 1, 5)", "(1,5),(-1,5)")],
        [(r"(\pm 1, \pm 2)", "(1,2),(-1,-2)"), (r"(\pm 1, \pm 2)", "(1,2)")],
    ),
    "an equation is solved by what it says of its other name": (
        [(r"\frac{6}{x}", "xy=6"), (r"\frac{5-x}{2}", "x+2y=5"), (r"\frac{1}{x+1}", "y(x+1)=1")],
        [(r"\frac{x}{6}", "xy=6"), (r"\frac{6}{x}", "x+y=6")],
    ),
    "what is not drawn, and sizes, are no part of an answer": (
        [(r"\phantom{9}7", "7"), (r"\scriptsize 7", "7"), (r"{\small 7}", "7"), (r"7\hphantom{0}", "7")],
        [(r"\phantom{7}", "7"), (r"\phantom{7}8", "7"), (r"7\phantom{0}", "70")],
    ),
    "an ordinal may say of what": (
        [("15", "15th day"), (r"15^{\text{th}}", "15th Day"), ("3rd floor", "3")],
        [("15", "15th root"), ("3rd power", "3"), ("15", "16th day")],
    ),
    "a second value in words makes a hedge": (
        [(r"5\text{ apples}", "5"), (r"5\text{ or }5.0", "5")],
        [
            *((r"5\text{ (alternatively 6)}", "5"), (r"5\text{ or 6}", "5"), (r"5\text{ (maybe 6)}", "5")),
            *((r"5\text{, possibly 6}", "6"), (r"5\text{ (or perhaps 6)}", "5")),
        ],
    ),
    "all real numbers are an interval": (
        [(r"\text{all real numbers}", r"\mathbb{R}"), ("All reals", r"(-\infty,\infty)")],
        [(r"\text{all real numbers}", r"(0,\infty)"), (r"\text{no real numbers}", r"\mathbb{R}")],
    ),
    "left sides count": (
        [
            ("BA=5", "AB=5"),
            ("(x,y)=(1,2)", "(y,x)=(2,1)"),
            (r"\sin\theta=\frac12", r"\frac12"),
            ("f(12)=5", "5"),
            (r"-3", r"\Delta p=-3"),
            (r"\text{radius}=2", "r=2"),
            ("q=5,p=3", "(p,q)=(3,5)"),
            (r"\overline{AB}=2", "AB=2"),
        ],
        [
            *((r"\sin\theta=\frac12", r"\cos\theta=\frac12"), (r"\alpha-\beta=3", r"\alpha+\beta=3")),
            *(("f(12)=5", "f(13)=5"), ("AB=5", "AC=5"), (r"\angle ABC=30", r"\angle BAC=30"), ("a_n=2^n", "b_n=2^n")),
            *(
                (r"\tan\alpha=2", r"\tan\beta=2"),
                ("|z|=2", "z=2"),
                (r"\bar{X}=2", "X=2"),
                (r"\text{radius}=2", "d=2"),
                ("q=5,p=3", "(p,q)=(5,3)"),
                ("f^{-1}(2)=5", "f(2)=5"),
                (r"\frac{a}{b}=2", r"\frac{b}{a}=2"),
            ),
        ],
    ),
    "bases": (
        [
            ("1F_{16}", "31"),
            ("AB_{16}", "171"),
            (r"12_{\text{three}}", "5"),
            ("(12)_3", "5"),
            ("12 base 3", "5"),
            ("0x1F", "31"),
            ("12_8", "10"),
            ("110_2", "110"),
            ("101_b", "101_b"),
        ],
        [
            ("33_2", "33_4"),
            ("10_{12}", "10"),
            ("12_{3}", "12_{4}"),
            ("98_7", "98"),
            ("AB_{12}", "131"),
            (r"12_{\text{three}}", "6"),
            ("0x1F", "1"),
            ("101_b", "101_c"),
        ],
    ),
    "times and dates": (
        [
            *(("3:00 pm", "15:00"), (r"3\text{ p.m.}", "3:00 PM"), ("9:05:00", "9:05"), ("4:6", "2:3")),
            *(("March 5, 2020", "5 March 2020"), ("2020-03-05", "Mar. 5, 2020"), ("1:2:3", "2:4:6")),
        ],
        [("2:30", "1:15"), ("1:00", "12:00"), ("3 a.m.", "3 p.m."), ("2024-01-05", "2018"), ("12/5/2023", "2.4")],
    ),
    "units": (
        [
            *(("5 m", "5"), (r"3\text{ s}", "3"), (r"2\text{ N}", "2"), (r"x=5\text{ m}", "5"), ("7 days", "1 week")),
            *((r"10\text{ m/s}", r"36\text{ km/h}"), ("6 ft 2 in", "74 inches"), ("50 cents", r"\$0.50")),
            *((r"5\text{ kg}\cdot\text{m/s}", "5"), ("2 hours and 30 minutes", "150 minutes"), ("12 dogs", "12 cats")),
            *(
                ("5元", "5"),
                ("3厘米", "3"),
                ("7 Mbps", "7"),
                ("90º", "90"),
                ("USD 7.50", "7.5"),
                ("25 degrees Celsius", r"25^\circ C"),
                ("9 ℃", "9"),
            ),
            *((r"100\text{ cm}^2", r"0.01\text{ m}^2"), ("5 m", "5m")),
        ],
        [
            *((r"5\text{ kPa}", r"5\text{ MPa}"), (r"5\text{ mol}", r"5\text{ mmol}"), ("5 GHz", "5 MHz")),
            *(("5 cm", "5 cm^2"), ("5 m/s", "5 m/s^2"), ("£5", r"\$5"), (r"5^\circ C", r"5^\circ F"), ("5x", "5")),
            *(
                ("1 month", "30 days"),
                ("6 ft 2 in", "6"),
                ("7 Mbps", "7 Gbps"),
                ("8 Mb", "8 MB"),
                ("3 light years", "3 km"),
                ("3千米", "3米"),
                ("3万", "3"),
                ("3倍", "3"),
            ),
        ],
    ),
    "words that change the value": (
        [
            *((r"\text{12 ways}", "12"), ("three fifths", "3/5"), ("negative five", "-5"), ("5 squared", "25")),
            *(
                ("square root of 144", "12"),
                ("two and a half", "2.5"),
                ("one hundred and five", "105"),
                ("a dozen", "12"),
            ),
            *((r"3\text{ tenths}", "0.3"), ("5 out of 8", "5/8"), ("a quarter of 48", "12")),
        ],
        [
            *((r"3\text{ tenths}", "3"), (r"5\text{ squared}", "5"), ("negative 12", "12"), ("at least 12", "12")),
            *(("half of 12", "12"), ("square root of 144", "144"), ("12 to 13", "12"), ("12 or more", "12")),
            *(
                ("5 hundredths", "500"),
                ("12 dozen", "12"),
                ("5 doubled", "5"),
                ("5 inverse", "5"),
                ("5 below zero", "5"),
                ("5 out of 8", "5"),
            ),
        ],
    ),
    "the last digit": (
        [
            ("0.333...", "1/3"),
            (r"0.1666\ldots", "1/6"),
            ("2.(27)", "25/11"),
            ("0.333333", "1/3"),
            ("0.666667", "2/3"),
            ("0.666666", "2/3"),
            (r"\frac{542}{3}", "180.67"),
        ]
        + [(r"\frac{\sqrt3}{2}", "0.8660254037844386"), ("-0.333333", r"-\frac13")],
        [
            ("0.33...", "1/3"),
            ("0.123...", "0.1233333"),
            ("0.333334", "1/3"),
            ("0.666668", "2/3"),
            ("1.41421357", r"\sqrt2"),
            ("180.67", r"\frac{542}{3}"),
        ]
        + [(r"\frac{541}{3}", "180.67"), (r"\frac13", "0.33"), ("-0.333334", r"-\frac13")],
    ),
    "bound names and tails": (
        [
            *((r"f(x)=1 \text{ for all } x\in\mathbb{R}", "f(x)=1"), ("f(t)=t^2", "f(x)=x^2"), (r"n\pi", r"x=k\pi")),
            *((r"x=n\pi, n\in\mathbb{Z}", r"x = k\pi, k \in \mathbb Z"), ("x^3+C", "x^3+c")),
            *((r"x=2\pi k, k\in\mathbb Z", r"x=2\pi n"), ("a=2k, k \\in \\mathbb{Z}", "a=2k")),
            *(
                ("f(t)=at", r"f(x)=kx \text{ where } k \text{ is a constant}"),
                ("bx+a", r"cx+d \text{ for all real } c, d"),
            ),
            *(("(0,0),(s,3s)", r"(0,0) \text{ and } (k,3k) \text{ for } k\in\mathbb{Z}"),),
            *((r"3^k", r"3^m, m\ge 0"), (r"3^k \text{ with } k\ge 1", r"3^n \text{ for } n>0")),
            *((r"(k-1,k+1), k\in\mathbb{Z}", r"(n,n+2), n\in\mathbb{Z}"), (r"x=1-k\pi", r"x=1+k\pi, k\in\mathbb{Z}")),
            (r"f(x)=1 \text{ for all } x\in\mathbb{R}, \text{ and } f(x)=x", "f(x)=1, f(x)=x"),
            *((r"\frac12\sin^2x+C", r"-\frac12\cos^2x+C"), (r"\ln|2x|+C", r"\ln|x|+C")),
        ],
        [
            *((r"x=n\pi", r"x=2k\pi"), ("f(x)=x", "f(y)=y+1"), ("2a", "2b"), ("x^2+C", "x^3+C"), ("R^2", "r^2")),
            *((r"x=k\pi, k\in\mathbb{N}", r"x=k\pi, k\in\mathbb{Z}"), (r"k\pi", r"n\pi"), ("f(x)=x", "g(x)=x")),
            *(("nC", "nc"), ("11a+c", "7=11a+c"), ("f(x)=ax^2", r"f(x)=kx \text{ where } k \text{ is a constant}")),
            *((r"3^k, k\ge 2", r"3^m, m\ge 1"), ("3^k", "3^m"), (r"x=2-k\pi", r"x=1+k\pi, k\in\mathbb{Z}")),
            *(
                (r"(k,k+1), k\in\mathbb{Z}", r"(n,n+2), n\in\mathbb{Z}"),
                (r"2k+1, k\in\mathbb{Z}", r"2k, k\in\mathbb{Z}"),
            ),
            *((r"(2k,k), k\in\mathbb{Z}", r"(k,2k)"), (r"f(x)=x \text{ for } x\ge 0", "f(x)=x")),
        ],
    ),
    "residue classes": (
        [
            (r"x\equiv 3\pmod{7}", r"x \equiv 10 \pmod 7"),
            ("congruent to 1 or 4 modulo 5", r"n = 5k+1 \text{ or } n=5k+4"),
            (r"n\equiv 1\pmod 2", r"n \equiv 1, 3 \pmod 4"),
            (r"n\equiv 1\pmod 8 \text{ or } n\equiv 7 \pmod 8", r"n \equiv \pm 1 \pmod 8"),
            *((r"\text{all multiples of }7", r"7 \mid n"), ("n is odd", "n=2k+1"), (r"\text{even integers}", "n=2k")),
        ],
        [
            *((r"n\equiv 1\pmod 8 \text{ or } n\equiv 7 \pmod 9", r"n \equiv \pm 1 \pmod 8"), ("7 \\nmid n", "7|n")),
            *((r"\text{all multiples of }7", r"14 \mid n"), (r"\text{multiples of }7", "7"), ("n is odd", "n=2k")),
            (r"n\equiv 2\pmod 4", r"n\equiv 3\pmod 4"),
            (r"x\equiv 2 \pmod 5", r"y\equiv 2\pmod 5"),
            ("5k+1", "10k+1"),
        ],
    ),
    "described sets": (
        [
            *((r"\text{powers of five}", "5^m"), (r"n=5^k, k\in\mathbb{N}_0", r"\text{all powers of }5")),
            *((r"\text{all integers greater than }6", r"n\ge 7"), (r"\text{all integers } n\ge 7", r"n\ge 7")),
            *(
                (r"n>6", r"n\ge 7 \text{ where } n \text{ is an integer}"),
                (r"\text{all positive integers}", r"\mathbb{Z}^+"),
            ),
            *((r"\text{all real numbers at least }6", r"[6,\infty)"), (r"\text{The only solution is } n=7", "n=7")),
            *(
                (r"\text{No such function exists.}", r"\text{no solution}"),
                (r"\text{there are no such primes}", "none"),
            ),
            *(
                (r"\text{The least value is }7", "7"),
                (r"\text{all } n\ge 7", r"n\ge 7"),
                (r"x\ne 0, 4", r"\mathbb{R}\setminus\{0,4\}"),
            ),
            *((r"\text{all odd squares}", r"\text{odd squares}"), ("AB=CD", "CD=AB")),
            *(("-3\\le t\\le 3", r"|t|\le 3"), ("(0,2)\\cup(2,5)", r"0<x<5, x\ne 2")),
        ],
        [
            *((r"\text{powers of five}", "5"), (r"\text{powers of five}", "3^k"), (r"n>6", r"n\ge 7")),
            *(
                (r"\text{all integers greater than }6", r"n\ge 6"),
                (r"\text{all real numbers greater than }6", r"n\ge 7"),
            ),
            *(
                (r"\text{all odd } n\ge 7", r"n\ge 7"),
                (r"\text{the least value is not }7", "7"),
                ("f(x)=kx", r"f(x)=kx, k\ge 0"),
            ),
            *((r"\text{all integers}", r"\mathbb{N}"), (r"\text{No such function exists.}", "0")),
            *(("-3<t<3", r"|t|\le 3"), ("(0,5)", r"0<x<5, x\ne 2"), ("AB=CE", "CD=AB")),
        ],
    ),
    "cases": (
        [
            (r"\begin{cases} x & x\ge 0\\ -x & x<0\end{cases}", "|x|"),
            (
                r"\begin{cases} \frac{n}{2} & n \text{ even}\\ \frac{n-1}{2} & n\text{ odd}\end{cases}",
                r"\lfloor n/2\rfloor",
            ),
            (
                r"\frac{n}{2} \text{ if } n \text{ is even}, \frac{n-1}{2} \text{ if } n \text{ is odd}",
                r"\lfloor n/2\rfloor",
            ),
            (
                r"4 \text{ if } n \text{ is even}, 1 \text{ otherwise}",
                r"\begin{cases}1 & n\text{ odd}\\ 4 & n\text{ even}\end{cases}",
            ),
        ],
        [
            (r"\begin{cases} x & x\ge 1\\ -x & x<1\end{cases}", "|x|"),
            (
                r"\frac{n}{2} \text{ if } n \text{ is odd}, \frac{n-1}{2} \text{ if } n \text{ is even}",
                r"\lfloor n/2\rfloor",
            ),
            (r"4 \text{ if } n \text{ is even}, 1 \text{ otherwise}", "4"),
        ],
    ),
    "words": (
        [
            *(
                (r"\text{Petrova}", r"\text{Petrova served in the first game}"),
                (r"\text{the squares}", r"\text{squares}"),
            ),
            *(("Friday", r"\text{on Friday}"), (r"\text{Ada Byron}", r"\text{Ada King Byron}")),
        ],
        [
            *(
                (r"\text{Ivanova}", r"\text{Petrova served in the first game}"),
                (r"\text{game}", r"\text{Petrova served in the first game}"),
            ),
            *(("Friday", r"\text{not on Friday}"), (r"\text{rectangles}", r"\text{squares}"), ("0=0", "x=0")),
        ],
    ),
    "tuples in other words": (
        [
            *(
                (r"(1,2,4) \text{ and all permutations}", "(1,2,4),(1,4,2),(2,1,4),(2,4,1),(4,1,2),(4,2,1)"),
                ("a=b=c=2", "(2,2,2)"),
            ),
            *(
                (r"(1,2,4) \text{ and its cyclic permutations}", "(1,2,4),(2,4,1),(4,1,2)"),
                (r"\pm(3,4)", "(3,4),(-3,-4)"),
            ),
            *((r"x=\pm 3, y=1", "(3,1),(-3,1)"), (r"\{2,4,\ldots,20\}", r"\{2, 4, \dots, 20\}")),
            *(
                (r"x\in\mathbb{R}, x\ne 4", r"\mathbb{R}\setminus\{4\}"),
                (r"\text{all real numbers except 4}", r"x\ne 4"),
            ),
            *(("(m,m+1), m \\text{ integer}", r"(n,n+1), n\in\mathbb{Z}"), (r"f\equiv 3", "f(x)=3")),
        ],
        [
            *((r"(1,2,4) \text{ and its cyclic permutations}", "(1,2,4),(1,4,2),(2,1,4),(2,4,1),(4,1,2),(4,2,1)"),),
            *(
                ("a=b=c=2", "(2,2,3)"),
                ("a=b=2", "(2,2,2)"),
                (r"\pm(3,4)", "(3,4),(3,-4)"),
                (r"x=\pm 3, y=1", "(1,3),(1,-3)"),
            ),
            *(
                (r"\{2,4,\ldots,20\}", r"\{2, 4, \dots, 22\}"),
                (r"\text{all real numbers except 4}", r"x\ne 5"),
                (r"f\equiv 3", "f(x)=4"),
            ),
        ],
    ),
    "spellings": (
        [
            *((r"\textcolor{red}{7}", "7"), (r"{\color{red}7}", "7"), (r"\underline{\frac12}", "0.5")),
            *(("x**3+1", "x^3+1"), ("2**10", "1024"), (r"\binom52", "10"), (r"{5 \choose 2}", "10"), ("∛27", "3")),
            *(
                ("1.5 x 10^3", "1500"),
                ("infinity", r"\infty"),
                (r"\text{infinitely many}", r"\infty"),
                ("1_000", "1000"),
            ),
            *(("]1,3[", "(1,3)"), (r"]-\infty,2[\cup[3,4[", r"(-\infty,2)\cup[3,4)")),
            *(
                (r"\text{Ann: }18", "18"),
                (r"\text{Ann: }3,\ \text{Bob: }5", "3, 5"),
                (r"3\text{ cups and }5\text{ jars}", "3, 5"),
            ),
            *((r"(\pm 1, 2)", "(1,2),(-1,2)"), ("[[1,2],[3,4]]", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}")),
            (r"\left\{ (a,b):ab\leq e^{3}\right\}", r" $\left\{ (a,b):ab\leq e^{3}\right\}$"),
        ],
        [
            ("]1,3[", "[1,3]"),
            (r"\text{not: }18", "18"),
            (r"\text{Ann: }3, \text{Bob: }5", "3"),
            ("negative infinity", r"\infty"),
            (r"\binom52", "5/2"),
            ("x**3", "x^2"),
            (r"-\text{(E)}", r"\text{(E)}"),
        ],
    ),
    "functions are compared by their values": (
        [
            *((r"\sin(90^\circ-x)", r"\cos x"), (r"\cos(\pi-x)", r"-\cos x"), (r"\arctan x", r"\tan^{-1} x")),
            *((r"\sin 3x", r"3\sin x-4\sin^3 x"), (r"\cos 36^\circ", r"\frac{1+\sqrt5}{4}"), ("|b-a|", "|a-b|")),
            *(("(e^1-e^{-1})/2", "sinh(1)"), ("exp(2x)", "e^{2x}")),
            *((r"\sqrt{2+\sqrt3}", r"\frac{\sqrt6+\sqrt2}{2}"), (r"\log_2 x", r"\frac{\ln x}{\ln 2}")),
        ],
        [
            *((r"\cos(90^\circ - x)", r"\cos x"), (r"\sin x", r"\sin x y"), ("a-b", "|a-b|"), (r"\tan x", r"\sin x")),
            (r"2^{1000000000000}", "5"),
            *(("10^{10}", "10^{10^{10^{10}}}"), ("3^{3^{3^{3^3}}}", "27"), ("2", "7^{7^{7^{7}}}")),
        ],
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_holds_on_both_sides(rule):
    right, wrong = RULES[rule]
    pairs = right + wrong
    verdicts = verify_batch([rf"\boxed{{{prediction}}}" for prediction, _ in pairs], [gold for _, gold in pairs])
    assert [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.correct is not True] == wrong
