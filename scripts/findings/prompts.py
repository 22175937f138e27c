"""The prompts of the studies, written for them: short ones of many kinds, long ones of about 400 tokens."""

from __future__ import annotations

#: Facts, sayings, lists, arithmetic, code, letters, dialogue: whatever a model may be asked to go on with.
SHORT = (
    "The capital of France is",
    "The capital of Japan is",
    "The capital of Egypt is the city of",
    "The largest planet of the solar system is",
    "Water freezes at zero degrees",
    "The chemical symbol of gold is",
    "The opposite of hot is",
    "The opposite of early is",
    "The plural of mouse is",
    "The past tense of the verb go is",
    "Two plus two equals",
    "Ten minus three equals",
    "One, two, three, four,",
    "Monday, Tuesday, Wednesday,",
    "January, February, March,",
    "The colours of the rainbow are red, orange,",
    "The sky on a clear day is",
    "Grass in the spring is",
    "Snow is",
    "A baby dog is called a",
    "A baby cat is called a",
    "The author of Hamlet is William",
    "The theory of relativity is the work of Albert",
    "The first man on the moon was Neil",
    "The bridge across the entrance of San Francisco Bay is the Golden",
    "The longest river of Africa is the",
    "The highest mountain of the world is Mount",
    "The Great Wall was built in",
    "The people of Germany speak",
    "The people of Brazil speak",
    "The currency of Japan is the",
    "The currency of the United Kingdom is the",
    "In summer the days are long, and in winter they are",
    "Once upon a",
    "They lived happily ever",
    "Better late than",
    "An apple a day keeps the doctor",
    "The early bird catches the",
    "Practice makes",
    "When in Rome, do as the",
    "Actions speak louder than",
    "Do not judge a book by its",
    "Dear Sir or",
    "Thank you very",
    "How are you? I am fine, and",
    "Happy birthday to",
    "Good morning, ladies and",
    "Yours",
    "Please find the document attached to this",
    "I am looking forward to hearing from",
    "The train to London leaves from platform",
    "The doctor told her to take the medicine twice a",
    "He put the key into the lock and opened the",
    "She took off her coat and hung it on the",
    "The children ran into the garden to",
    "After dinner he washed the",
    "The cook cut the onions with a sharp",
    "It was raining, so she opened her",
    "He was tired, so he went to",
    "The library was quiet, and everybody was reading a",
    "The bakery on the corner sells fresh",
    "The fisherman pulled his net into the",
    "The farmer milks the",
    "The pilot landed the",
    "The teacher wrote the answer on the",
    "The violin has four",
    "A week has seven",
    "A triangle has three",
    "An hour has sixty",
    "A spider has eight",
    "The heart pumps",
    "Plants make sugar from water, carbon dioxide and the light of the",
    "Bees make",
    "Fish breathe with their",
    "Ice melts when it gets",
    "The speed of light is greater than the speed of",
    "Sound travels through the air as a",
    "The Earth goes around the",
    "The Moon goes around the",
    "The opposite of north is",
    "The sun rises in the",
    "for i in range(10):\n    print(",
    "import numpy as",
    "def add(a, b):\n    return a +",
    "if x is None:\n    raise ValueError(",
    "<html>\n<head>\n<title>",
    "SELECT name FROM users WHERE",
    "#include <stdio",
    'git commit -m "',
    "The French word for bread is",
    "The Spanish word for water is",
    "The German word for house is",
    "In English, the Latin word aqua means",
    "cat : kitten, dog :",
    "Paris : France, Rome :",
    "king : queen, man :",
    "big, bigger, biggest; small, smaller,",
    "Question: What do cows drink? Answer:",
    "Question: Which animal is the king of the jungle? Answer: the",
    "The war ended in the year 19",
    "In 1969, two men walked on the",
    "The parliament of the United Kingdom meets in",
    "The White House is in",
    "The president gave a speech about the",
    "The company announced that its profits had",
    "The prices of houses have gone",
    "Scientists have discovered a new",
    "The patient was taken to the",
    "The goalkeeper caught the",
    "The orchestra began to",
)

_FERRY = """
The ferry leaves the mainland at seven in the morning, when the fog still lies on the water and the lamps
along the quay have not been put out. It is a small white boat with a single deck, and it carries the post,
the bread, four or five cars and whoever wants to cross. In winter there may be no more than three
passengers. They stand in the cabin around the stove and talk about the weather, which on the island decides
everything: whether the school is open, whether the doctor can come, whether the fish will be sold on the
same day or only on the next. The captain has made the crossing for thirty-one years. He knows every rock by
a name that stands on no chart, and he says that he could find the harbour with his eyes shut, by the sound
of the bell on the breakwater and the smell of the smokehouses. Once, in the great storm of his second year,
he had to. The waves came over the rail and broke two windows of the cabin, and the engine stopped twice
within sight of the lighthouse. Nobody was hurt, but an old woman who had lost her hat in the wind asked the
company for a new one, and got it, and wore it on every crossing until she died. On the island there is one
road, and it goes from the harbour to the lighthouse and ends there. Along the road stand some forty houses,
a church with a wooden tower, a shop that sells everything from nails to oranges, and an inn with six rooms.
In July all six rooms are taken, and people who did not write in time sleep in their cars or in the hay of
the two farms. They come for the birds, for the long evenings and for the silence. In October the last of
them leave, the innkeeper puts the chairs on the tables, and the island belongs to itself again. Only the
small white boat still goes to the mainland and back, every morning and every evening. Its captain will
retire next spring, and nobody knows yet who is going to steer the
"""

_BREAD = """
Bread needs four things: flour, water, salt and time. Everything else is a matter of taste. Start in the
evening. Put five hundred grams of flour into a large bowl, add three hundred and fifty grams of water and
stir with a wooden spoon until no dry flour is left. Cover the bowl and wait for half an hour; the flour
drinks the water, and the dough becomes smooth without any work. Then add ten grams of salt and a piece of
sour dough the size of a walnut, and knead for five minutes. The dough will stick to your hands. Do not add
more flour, however much you want to, because a wet dough makes a light bread with large holes, and a dry
one makes a brick. Wet your hands instead. Cover the bowl again and leave it on the kitchen table. During
the first two hours take the dough by its edge every thirty minutes, pull it up and fold it over to the
middle, once from each side. You will feel how it becomes stronger. Now it may rest until the next morning.
In a warm room it will have doubled after eight hours, in a cold one after twelve. Turn it out onto a board,
shape it into a ball with the sides of your hands, and lay it into a basket with a cloth that you have
dusted with flour. After another hour heat the oven as high as it goes, with a heavy pot inside. When the
pot is as hot as the oven, take it out with thick gloves, let the dough fall into it, cut the surface twice
with a sharp knife, and close the lid. The steam stays in the pot, and it is the steam that keeps the crust
soft for long enough, so that the bread can rise. After twenty-five minutes take the lid off and bake until
the crust is dark brown. A finished bread sounds hollow when you knock on its bottom. Let it cool on a rack
for at least an hour, even if everybody in the house is waiting with the butter. Then take the knife and cut
the first slice of your own
"""

_CLOCK = """
The clock in the tower of the town hall has four faces and one movement. It was built in 1871 by a man who
had made clocks for railway stations, and who had learnt there that a clock must be right before it may be
beautiful. The movement stands in a cabinet of oak in the middle of the room, as large as a piano. From its
top four rods go to the four walls, and behind each wall a pair of wheels turns the hands outside, so that
all faces show the same time, or all are wrong together. A weight of two hundred kilograms hangs on a steel
rope in the shaft below. Every Monday somebody has to climb the hundred and twelve steps and wind it up with
a crank. It takes a quarter of an hour, and it makes one warm even in January. For a long time that was the
work of the school's caretaker, then of the fire brigade, and today it is done by a club of nine people who
like old machines. They have a book in which they write down by how many seconds the clock was off. In a
good week it is less than five. The pendulum is two metres long and swings once in a little under three
seconds; a small tray is fixed to its rod, and on the tray lie old coins. If the clock is slow, a coin is
added, which lifts the middle of the mass a little and makes the pendulum faster; if it is fast, a coin is
taken away. One penny is worth four tenths of a second a day. Some years ago the council wanted to put in an
electric motor. The club invited the council to the tower, on the hour, and let everyone stand beside the
great bell when the hammer fell. Then they showed them the book, the tray and the coins, and how a hundred
and fifty years of work had kept the time of the whole town. The motor was never bought. So it is still true
that on every Monday, whatever the weather is, one of the nine climbs up the hundred and twelve steps to
wind the
"""

_GARDEN = """
When my grandmother gave up her shop she began to write letters to the garden. She did not call them that.
She had a notebook with a green cover, and in the evening she noted what she had seen: the first bumblebee
on the crocus, the third of March; the blackbird is carrying straw; frost again, I have covered the beans.
She wrote to nobody, in the tone in which one writes to a friend who has moved away. There are twenty-six
notebooks. I have read all of them, and I know now that the apple tree by the fence blooms eleven days
earlier than it did when she was fifty, that the swallows came on the same day in four years out of five,
and that she planted the same roses three times in the same place before she believed the man from the
nursery, who had told her that nothing can grow there because of the walnut. She wrote down her mistakes as
carefully as what she was proud of. Salad sown too early. Forgot to shut the greenhouse, all tomatoes lost,
my own fault. In between there are sentences about people. My mother's wedding has two lines, between the
gooseberries and the hail. My own birth has one: a girl, and the first ripe peas. I used to think that this
was little. Today I believe that she gave to everything the same space because everything was of the same
weight to her, and because what one sees on a single day is never much. It is the twenty-six years that make
it large. In the last notebook the writing becomes unsteady. She could not kneel any more, and the
neighbour's boy pulled out the weeds while she sat on a chair beside him and told him which of them were
none. The last entry is from the ninth of October. It says that the leaves of the cherry tree are yellow,
that the boy has found a hedgehog, and that she is looking forward to the spring. I have her house now, and
the fence, and the tree beside it. On the third of March I bought a notebook with a green
"""

_EXPEDITION = """
On the forty-third day the expedition reached the edge of the ice. There were seven men, two sledges and
nineteen dogs, and food for thirty days more. Behind them lay six hundred kilometres of snow on which they
had met nothing that was alive. Before them the land fell in brown steps to a fjord, and on the lowest step,
if the map was right, stood the hut in which the ship's people had left supplies the summer before. Nobody
cheered. They had talked of this moment on every evening, in the tent, with the wooden spoons in their
hands, and now that it had come they only stood there and looked, because the colour of the earth was more
than they could understand at once. The leader was the first to speak. He said that they would camp here and
go down in the morning, when everybody had slept. That night the wind turned. It came from the sea, warm and
wet, and within an hour the snow was so soft that the dogs sank into it up to their bellies. They had to
leave one of the sledges. They loaded the instruments, the notebooks and the food for ten days on the other,
and let everything else stand where it was: the spare tent, the rifles, the box of books, the gramophone
that had played to them on Sundays. It took them three days to go down. On the second one the youngest of
them, who was the cook, fell into a crevasse and hung on his rope for two hours until they could pull him
out; he had lost a boot and two teeth, and laughed about it. On the third day they saw the hut. Its door was
open, and snow had blown in, but the supplies were all there, under a sheet of canvas: biscuits, coal, lamp
oil, tinned meat, tobacco, and a letter. The leader took off his gloves, sat down on a box and read it
aloud. The ship, it said, would come back for them with the first open water of the summer. They should
wait, keep the stove burning and not lose their courage. That evening, for the first time in forty-six days,
the seven men slept in a warm and dry
"""

_RIVER = """
A river is never finished. It begins as rain that does not sink into the ground, and it looks for the
shortest way down, but it takes the ground along, and so the way is another one tomorrow. In the mountains
the water is fast and carries stones. They grind the bed, the valley becomes deeper, its sides slide down
and are carried off in their turn. Where the land is flat the water slows down, and what it cannot carry any
longer it lays down: first the gravel, then the sand, at last the mud. Here the river begins to swing from
side to side. On the outside of a bend the water runs faster and eats away the bank; on the inside it is
slow and builds a beach. So every bend grows, until two of them touch each other and a flood breaks through
between them. The old bend stays behind as a lake in the form of the moon, slowly filling up with reeds.
People who live in such valleys know that the river moves, and build their houses on the hills. Where they
forgot it, or were told that dams had made an end of it, they were reminded. In a great flood the river
takes back for some days the whole plain that it has made. What it leaves behind is a layer of fine mud, a
finger thick, and on that mud grow the best harvests of the country; the fields of Egypt were fed in this
way for five thousand years. At its mouth the river meets the sea, which does not flow, and it drops the
last that it carries. The land grows out into the water, the river divides, and each arm builds on alone.
From the air the whole looks like a tree lying on its side, with its roots in the mountains and its crown in
the salt water. If you want to know what a country is made of, do not look at its mountains. Take a handful
of sand at the place where its largest river flows into the
"""

_TRIAL = """
The case was a simple one, the judge said, and for that reason he would explain it slowly. A man had sold a
horse. He had said to the buyer, in front of two witnesses, that the horse was seven years old and healthy.
Both was true. He had not said that the horse was afraid of bridges. The buyer lived on the other side of
the river. When he came to the bridge, the animal stopped, and neither sugar nor the whip could make it take
another step. It stood there for the whole afternoon, with the carts of half the county waiting behind it,
until a boy led it back with a cloth over its eyes. Now the buyer wanted his money. The seller's lawyer
asked who had ever heard that a seller must list everything that a horse does not like. Was he to say that
it disliked thunder? That it preferred oats to barley? The buyer had looked at its teeth and had run his
hand down its legs; if bridges mattered to him, he could have asked. The buyer's lawyer answered that one
asks about what one can imagine. Nobody buys a boat and asks whether it floats. The judge listened to both
of them, and then he did what no judge of that county had done before. He closed the session, put on his hat
and walked to the bridge, and everybody who was in the courtroom walked behind him. The horse was brought.
It came as far as the first plank and stopped. The judge looked at it for a while. Then he took off his hat,
held it so that the animal could not see the water between the planks, and went slowly forward, talking all
the time, and the horse followed him to the other side. There he put his hat on again. The horse, he said,
was not afraid of bridges. It was afraid of what it saw below them, as many of us are, and the buyer had
received what he had paid for. The court found in favour of the
"""

_CODE = """
A program that reads a file of measurements has to decide what it does with a line that is wrong. There are
three schools. The first one stops: the line says what it says, and if that is not a number, then no result
is better than a result that rests on a guess. The second one leaves the line out and goes on, perhaps with
a warning that scrolls by. The third one repairs what it can: a comma becomes a point, a missing value
becomes zero, a date in the wrong order is turned around. The third school has the happiest users, for about
a year. Then somebody compares two reports that should agree, and they do not, and it takes a week to find
out that in March one of the sensors was replaced by a model that writes its zeros as dashes. The second
school has the same week, a little later. The first school had its trouble at the beginning. Its users wrote
angry letters, because the program refused files that had always worked, and each letter had to be answered
with the number of a line and a sentence about it. But after the letters were answered the files were right,
and they stayed right, since the next wrong line was found on the day on which it was written. There is an
art to refusing. A program that says only that something is invalid has not helped anybody. It should say
what it found, where it found it, what it expected there, and what the reader can do now, in one sentence
that a tired person understands. It should not print forty lines of its own insides. It should not leave
half of a result on the disk, which somebody will take for a whole one. And it should refuse before it has
worked for three hours, not after. If you follow these rules, your program will be called strict by some
people. Do not mind. The numbers that come out of it are the numbers that went
"""

_MUSIC = """
The string quartet is the smallest form in which four people can disagree. An orchestra has a conductor, and
a duet has two sides; in a quartet each of the four can be alone, or two can stand against two, or three
against one, and all of this may change within a bar. Haydn, who wrote sixty-eight of them, compared it to a
conversation between reasonable people. He had no public in mind at first. The pieces were meant for those
who played them, in a room, by candlelight, with wine on the table and no listener but the servant who
brought it. That is why the second violin and the viola are never merely patient. If they were, nobody would
have wanted to play them. Beethoven was the first who wrote quartets that were too difficult for the room.
The players of his time complained, and he is said to have answered that he had not written for them but for
a later age. In his last five quartets there are passages in which no instrument seems to know what the
others are doing; one hears them for ten years and thinks that they are rough, and then one hears them again
and cannot understand what was rough about them. Since then it has been the form in which composers say what
they do not say aloud. Shostakovich wrote symphonies when the state expected him to, and quartets for
himself and his friends. The eighth of them was written in three days, in a town that had been destroyed in
the war, and it contains his own name, spelt in four notes, again and again. Four people who play together
in this way for thirty years know each other better than most families. They know who is late, who cannot
bear a draught, and who will be the first to smile after a mistake. What they do not do, if they are wise,
is to talk much while they rehearse. They sit down in a half circle, look at each other for a moment,
breathe in together, and begin to
"""

_BRIDGE = """
For eighty years people had said that the strait could not be bridged. It was too deep for pillars, they
said, and too wide for ropes; the tide ran through it like a river, twice a day in each direction, and for a
third of the year one could not see the other side for fog. A ferry went across every twenty minutes. On
summer Sundays the cars waited for three hours. The engineer who was asked in the end was a small man who
had built some four hundred bridges, none of them a large one. He went to the shore with a folding chair and
sat there for a week. Then he wrote that it could be done for a third of what everybody thought, and he was
given the work. The hardest part was the southern tower, which had to stand in the open water, three hundred
and forty metres from the shore, where the waves came straight in from the ocean. They built a wall around
the place as high as a house, pumped out the water and worked at the bottom of the sea as in a well. A
steamer lost its way in the fog and ran into the trestle; two months later a storm took away what was left
of it, and they began again. When the towers stood they spun the cables, wire by wire, from one shore to the
other and back, until there were more than twenty-seven thousand wires in each of them, enough to go around
the Earth three times at the equator. Below the roadway hung a net, which cost a great deal and was laughed
at. Nineteen men fell into it and lived, and called themselves a club. The paint was to be black and yellow,
as the navy wanted it, so that ships would see it. But the first steel had come from the mill in a red
primer, and the architect, who crossed on the ferry each morning, saw it stand against the green hills and
the grey water and fought for that colour until he got it. On the first day the bridge was open to people on
foot alone, and two hundred thousand of them came to walk across the Golden
"""

_SCHOOL = """
The school stands where the valley ends. It has one classroom, one teacher and eleven pupils, of whom the
youngest is six and the oldest fourteen. In the morning the teacher lights the stove, and the children hang
their wet jackets around it, so that the room smells of wool until noon. Then each of them takes out
something else. The little ones write letters on slates, the middle ones calculate, the big ones read. The
teacher goes from desk to desk. He says that the art of it is to be interrupted: whoever cannot bear that
eleven people want eleven different things of him should become a professor. At ten everybody does the same.
He tells them a story from history, on Mondays and Thursdays, or he unrolls the map, or they go out and look
at what there is, the tracks of the fox, the ice on the well, the man who is mending the power line. The
older ones explain to the younger ones what they have seen, and he has found that this is how they learn it
themselves. Two years ago the authorities wanted to close the school. A bus, they wrote, could take the
children to the town in fifty minutes, where there were laboratories and a gymnasium and, for every subject,
a teacher of its own. The parents invited the inspector. He arrived on a day in February, and because the
road was blocked behind him by an avalanche he had to stay for three. He slept at the teacher's house, and
since there was nothing else to do he sat in the classroom, on a chair that was far too small for him. On
the first day he made notes. On the second day he was asked by a girl of seven whether he could do
fractions, because the teacher was busy, and he could. On the third day the road was open again, but he
stayed until noon to hear the end of the story. His report had a single page. It said that the children in
this valley were learning what they needed, that nothing should be changed, and that he would advise the
authorities not to close the
"""

_WEATHER = """
Every morning at a quarter to seven she walks across the meadow to the white box on legs, opens its door and
reads the thermometers. There are four: one for the air, one with a wet cloth around its bulb, one that
keeps the highest value since yesterday and one that keeps the lowest. She writes the figures into a book
with a pencil, because ink freezes. Then she looks at the sky and notes, in eighths, how much of it is
covered, and which kinds of cloud cover it. She measures the rain with a glass tube, and the snow with a
ruler at three places, of which she takes the mean. It takes eleven minutes. Her father did it before her,
and his uncle before him; on the first page of the first book stands the year 1894, and since then only nine
mornings are missing, six of them in the last spring of the war. Today there is an automatic station beside
the white box. It measures every ten seconds, and sends what it has measured to the capital without being
asked. When it was set up she thought that she was no longer needed, but the man from the weather service
shook his head. A new instrument in a new place, he explained, always tells something slightly different,
and if one simply goes on with it, then there is a step in the curve, and in a hundred years somebody will
take the step for a change of the climate. So both have to be read side by side for ten years at least.
Seven of them have gone by. The automatic station was struck by lightning twice, and once a family of mice
moved in. She was ill on two days, and her neighbour read the thermometers. The series from this meadow is
one of the longest in the country, and it says that the winters are now almost two degrees warmer than in
the time of her father's uncle. She does not need the books in order to know that. When she was a child the
lake behind the house was frozen from December until the end of March. This year, for the third time in a
row, there was no ice on the
"""

_TEXTS = (
    _FERRY, _BREAD, _CLOCK, _GARDEN, _EXPEDITION, _RIVER, _TRIAL, _CODE, _MUSIC, _BRIDGE, _SCHOOL, _WEATHER,
)  # fmt: skip
#: Each of about 400 tokens, without the line breaks that it is written with here.
LONG = tuple(" ".join(text.split()) for text in _TEXTS)
