"""Slot values for Home Assistant's sentence templates: what `{area}` or `{name}` may stand for.

The package leaves the names of rooms and devices to each household. These are ours, each concept in
every language, so that a slot of one language can be filled with the same thing in another. Names
are kept apart by kind of device: one name for a lock and for a blind would make "open it" two
intents. A concept is known by its English form.
"""

from __future__ import annotations

LANGUAGES = ("en", "zh", "de")

Concept = tuple[str, str, str]
"""One thing in the languages of `LANGUAGES`, in that order."""

VALUES: dict[str, tuple[Concept, ...]] = {
    "area": (
        ("kitchen", "厨房", "Küche"),
        ("living room", "客厅", "Wohnzimmer"),
        ("bedroom", "卧室", "Schlafzimmer"),
        ("guest room", "客房", "Gästezimmer"),
        ("bathroom", "浴室", "Badezimmer"),
        ("study", "书房", "Arbeitszimmer"),
        ("dining room", "餐厅", "Esszimmer"),
        ("hallway", "走廊", "Flur"),
        ("nursery", "儿童房", "Kinderzimmer"),
        ("garage", "车库", "Garage"),
        ("garden", "花园", "Garten"),
        ("balcony", "阳台", "Balkon"),
        ("laundry room", "洗衣房", "Waschküche"),
        ("playroom", "游戏室", "Spielzimmer"),
        ("terrace", "露台", "Terrasse"),
        ("workshop", "工作间", "Werkstatt"),
    ),
    "floor": (
        ("first floor", "一楼", "ersten Stock"),
        ("second floor", "二楼", "zweiten Stock"),
        ("third floor", "三楼", "dritten Stock"),
        ("upstairs", "楼上", "Obergeschoss"),
        ("downstairs", "楼下", "Erdgeschoss"),
        ("basement", "地下室", "Keller"),
        ("attic", "阁楼", "Dachboden"),
    ),
    "zone": (
        ("home", "家", "zu Hause"),
        ("work", "公司", "Firma"),
        ("school", "学校", "Schule"),
        ("gym", "健身房", "Fitnessstudio"),
        ("library", "图书馆", "Bibliothek"),
        ("airport", "机场", "Flughafen"),
    ),
    "message": (
        ("dinner is ready", "晚饭好了", "das Essen ist fertig"),
        ("it is time for bed", "该睡觉了", "es ist Zeit fürs Bett"),
        ("the guests are here", "客人到了", "die Gäste sind da"),
        ("we leave in ten minutes", "我们十分钟后出发", "wir fahren in zehn Minuten"),
        ("the package has arrived", "快递到了", "das Paket ist angekommen"),
        ("I am home", "我回来了", "ich bin zu Hause"),
        ("please come to the kitchen", "请到厨房来", "kommt bitte in die Küche"),
        ("the movie is about to start", "电影要开始了", "der Film fängt gleich an"),
        ("breakfast is on the table", "早餐准备好了", "das Frühstück steht auf dem Tisch"),
        ("someone is at the door", "有人在门口", "jemand steht vor der Tür"),
        ("happy birthday grandma", "奶奶生日快乐", "alles Gute zum Geburtstag Oma"),
        (
            "school starts in half an hour",
            "半小时后上学",
            "die Schule beginnt in einer halben Stunde",
        ),
    ),
    "timer_name": (
        ("pizza", "披萨", "Pizza"),
        ("egg", "鸡蛋", "Eier"),
        ("tea", "泡茶", "Tee"),
        ("laundry", "洗衣", "Wäsche"),
        ("homework", "作业", "Hausaufgaben"),
        ("workout", "健身", "Training"),
        ("oven", "烤箱", "Ofen"),
        ("soup", "煲汤", "Suppe"),
        ("nap", "午睡", "Mittagsschlaf"),
    ),
    "timer_command": (
        ("turn off the television", "关闭电视", "schalte den Fernseher aus"),
        ("lock the front door", "锁上前门", "schließe die Haustür ab"),
        ("play some jazz", "播放爵士乐", "spiele etwas Jazz"),
        ("start the dishwasher", "启动洗碗机", "starte die Spülmaschine"),
        ("open the curtains", "打开窗帘", "öffne die Vorhänge"),
        ("turn on the heating", "打开暖气", "schalte die Heizung ein"),
        ("close the garage door", "关闭车库门", "schließe das Garagentor"),
        ("water the garden", "给花园浇水", "bewässere den Garten"),
    ),
    "shopping_list_item": (
        ("milk", "牛奶", "Milch"),
        ("eggs", "鸡蛋", "Eier"),
        ("bread", "面包", "Brot"),
        ("apples", "苹果", "Äpfel"),
        ("rice", "大米", "Reis"),
        ("olive oil", "橄榄油", "Olivenöl"),
        ("toilet paper", "卫生纸", "Toilettenpapier"),
        ("dog food", "狗粮", "Hundefutter"),
        ("tomatoes", "西红柿", "Tomaten"),
        ("green tea", "绿茶", "grünen Tee"),
        ("shampoo", "洗发水", "Shampoo"),
        ("batteries", "电池", "Batterien"),
    ),
    "todo_list_item": (
        ("call the dentist", "给牙医打电话", "Zahnarzt anrufen"),
        ("pay the rent", "交房租", "Miete zahlen"),
        ("wash the car", "洗车", "Auto waschen"),
        ("water the plants", "浇花", "Blumen gießen"),
        ("book the flights", "订机票", "Flüge buchen"),
        ("return the books", "还书", "Bücher zurückgeben"),
        ("renew the passport", "换护照", "Pass verlängern"),
        ("buy a present", "买礼物", "Geschenk kaufen"),
        ("clean the windows", "擦窗户", "Fenster putzen"),
        ("write the report", "写报告", "Bericht schreiben"),
    ),
    "search_query": (
        ("Bohemian Rhapsody", "波西米亚狂想曲", "Bohemian Rhapsody"),
        ("the Beatles", "披头士", "die Beatles"),
        ("Spirited Away", "千与千寻", "Chihiros Reise ins Zauberland"),
        ("classical piano", "古典钢琴曲", "klassisches Klavier"),
        ("the morning news", "早间新闻", "die Morgennachrichten"),
        ("Mozart", "莫扎特", "Mozart"),
    ),
}
"""Values of the lists that the package leaves open, by list name."""

NAMES: dict[str, tuple[Concept, ...]] = {
    "light": (
        ("desk lamp", "书桌灯", "Schreibtischlampe"),
        ("chandelier", "水晶灯", "Kronleuchter"),
        ("Christmas tree", "圣诞树", "Weihnachtsbaum"),
        ("aquarium", "鱼缸", "Aquarium"),
        ("display cabinet", "展示柜", "Vitrine"),
        ("mirror cabinet", "镜柜", "Spiegelschrank"),
        ("floor lamp", "落地灯", "Stehlampe"),
    ),
    "switch": (
        ("coffee machine", "咖啡机", "Kaffeemaschine"),
        ("water heater", "热水器", "Warmwasserboiler"),
        ("socket by the sofa", "沙发插座", "Sofasteckdose"),
        ("fountain", "喷泉", "Springbrunnen"),
        ("humidifier", "加湿器", "Luftbefeuchter"),
    ),
    "input_boolean": (
        ("guest mode", "访客模式", "Gästemodus"),
        ("vacation mode", "度假模式", "Urlaubsmodus"),
        ("night watch", "夜间守护", "Nachtwache"),
    ),
    "fan": (
        ("ceiling fan", "吊顶风扇", "Deckenventilator"),
        ("tower fan", "落地风扇", "Turmventilator"),
        ("air purifier", "空气净化器", "Luftreiniger"),
        ("extractor", "排气扇", "Abzug"),
    ),
    "media_player": (
        ("television", "电视", "Fernseher"),
        ("speaker", "音箱", "Lautsprecher"),
        ("soundbar", "回音壁", "Soundbar"),
        ("radio", "收音机", "Radio"),
        ("projector", "投影仪", "Beamer"),
        ("record player", "唱片机", "Plattenspieler"),
    ),
    "climate": (
        ("thermostat", "恒温器", "Thermostat"),
        ("air conditioner", "空调", "Klimaanlage"),
        ("underfloor heating", "地暖", "Fußbodenheizung"),
        ("radiator", "暖气片", "Heizkörper"),
    ),
    "cover": (
        ("left curtain", "左侧窗帘", "linken Vorhang"),
        ("roof window", "天窗", "Dachfenster"),
        ("projector screen", "投影幕布", "Leinwand"),
        ("sun sail", "遮阳帆", "Sonnensegel"),
        ("bay window blinds", "飘窗卷帘", "Erkerjalousie"),
    ),
    "valve": (
        ("water valve", "水阀", "Wasserventil"),
        ("gas valve", "燃气阀", "Gasventil"),
        ("sprinkler valve", "喷灌阀门", "Sprinklerventil"),
    ),
    "lock": (
        ("front door", "前门", "Haustür"),
        ("back door", "后门", "Hintertür"),
        ("cellar door", "地窖门", "Kellertür"),
        ("side entrance", "侧门", "Seiteneingang"),
        ("safe", "保险箱", "Tresor"),
    ),
    "scene": (
        ("movie night", "观影", "Filmabend"),
        ("romantic dinner", "浪漫晚餐", "romantisches Abendessen"),
        ("good morning", "早安", "guten Morgen"),
        ("party", "派对", "Party"),
        ("reading", "阅读", "Lesen"),
    ),
    "script": (
        ("bedtime routine", "睡前流程", "Abendroutine"),
        ("leaving home", "离家流程", "Haus verlassen"),
        ("pool cleaning", "泳池清洁", "Poolreinigung"),
        ("security check", "安全检查", "Sicherheitscheck"),
    ),
    "button": (
        ("doorbell", "门铃", "Türklingel"),
        ("router restart", "路由器重启", "Router Neustart"),
        ("pet feeder", "喂食器", "Futterautomat"),
    ),
    "todo": (
        ("chores", "家务清单", "Hausarbeiten"),
        ("packing", "行李清单", "Packliste"),
        ("office", "工作清单", "Büro"),
        ("birthday", "生日清单", "Geburtstag"),
        ("weekend", "周末清单", "Wochenende"),
    ),
    "vacuum": (
        ("robot vacuum", "扫地机器人", "Saugroboter"),
        ("Rosie", "小扫", "Rosie"),
        ("floor robot", "拖地机器人", "Wischroboter"),
        ("dust buster", "吸尘器", "Staubsauger"),
    ),
    "lawn_mower": (
        ("grass robot", "草坪机器人", "Rasenroboter"),
        ("Shaun", "小羊", "Shaun"),
        ("front yard robot", "前院机器人", "Vorgartenroboter"),
    ),
    "weather": (
        ("Berlin", "柏林", "Berlin"),
        ("Shanghai", "上海", "Shanghai"),
        ("London", "伦敦", "London"),
        ("Beijing", "北京", "Peking"),
        ("Paris", "巴黎", "Paris"),
    ),
    "person": (
        ("Anna", "安娜", "Anna"),
        ("David", "大卫", "David"),
        ("Lily", "莉莉", "Lily"),
        ("Peter", "彼得", "Peter"),
        ("grandma", "奶奶", "Oma"),
    ),
    "sensor": (
        ("outdoor humidity", "室外湿度", "Außenfeuchtigkeit"),
        ("air quality", "空气质量", "Luftqualität"),
        ("power meter", "电表", "Stromzähler"),
        ("rain gauge", "雨量计", "Regenmesser"),
    ),
    "binary_sensor": (
        ("pantry sensor", "储藏室传感器", "Vorratsraumsensor"),
        ("shed sensor", "棚屋传感器", "Schuppensensor"),
        ("gate sensor", "院门传感器", "Torsensor"),
        ("mailbox", "信箱", "Briefkasten"),
    ),
}
"""Names of devices, by their domain in Home Assistant."""
NAMES["input_button"] = NAMES["button"]

NUMBERS: dict[str, range] = {
    "temperature": range(16, 29),
    "position": range(10, 100, 10),
    "fan_speed": range(10, 100, 10),
    "brightness": range(5, 100, 5),
    "color_temperature": range(2000, 6600, 500),
    "volume": range(10, 100, 5),
    "volume_level": range(10, 100, 5),
    "volume_percentage": range(10, 100, 5),
    "volume_step_up": range(5, 45, 5),
    "volume_step_down": range(5, 45, 5),
    "timer_seconds": range(5, 60, 5),
    "timer_minutes": range(2, 60),
    "timer_hours": range(2, 13),
}
"""Numbers that people say, out of the package's much wider ranges, by list name."""

SAME_LISTS = {"bs_door_states": "bs_open_states"}
"""Lists of one meaning that the package names differently in some languages."""

IMPLAUSIBLE: dict[str, str] = {
    "en": "|".join(
        (
            r"(?i)\b(\w+) \1\b",  # "the the", a list called "list" in "{name} list"
            r"\b(lamps?|lights?|chandelier) (lamps?|lights?|lighting)\b",
            r"\b(in|on|at|of|across|around|throughout) ((the|my|our) )?(upstairs|downstairs)\b",
            r"\b(upstairs|downstairs|attic|basement) floor\b",
            r"\b(the|my|our) (berlin|shanghai|london|beijing|paris|anna|david|lily|peter|rosie)\b",
            r"\b(is|are|there) (the|my|our) (on|off|open|closed|shut|locked|unlocked|securely)\b",
            r"\d (hour|minute|second)\b(?! timer)",  # 5 hour
            r"\d-((hours|minutes|seconds)\b|(hour|minute|second)\b(?! timer))",  # 5-hours
            r"half (an )?hours|half a minutes|and (a )?half (hour|minute)\b",
            r"[{}<>\[\]()|]",
        )
    ),
    "zh": "|".join(
        (
            r"[A-Za-z]{2}",  # English verbs left in the Chinese rules
            r"的的|的[是有都静]|(?<![着了开关闭锁中上色])的$",  # 的 where no noun follows
            r"[楼层室上下][楼层]|播放播放|说一(?!下)",  # 一楼层
            r"灯的?(吸顶灯|筒灯|射灯|台灯|床头灯|灯)",
            r"(?<![几一])点了?$|时间了$|(什么|多少)点|(几|是多少|是什么)时间",
            r"百分之\d+%",
            r"[{}<>\[\]()|]",
        )
    ),
    "de": r"(?i)\b(\w+) \1\b|[{}<>\[\]()|]",
}
"""What no speaker would say, by language; sentences that match are sampled again."""
