//! The small words and the letters that give a Latin-script language away in one short sentence, where n-gram models are unsure.
//!
//! Word lists are written for this project: articles, pronouns, prepositions, auxiliaries, greetings. A word in many lists weighs
//! little, a word in one list weighs much, so lists may overlap. This file may not know how the evidence is combined.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What marks one language of the Latin script.
pub(super) struct Profile {
    /// BCP 47 primary tag.
    pub(super) tag: &'static str,
    /// Lower-case letters beyond a-z that its spelling uses.
    pub(super) letters: &'static str,
    words: &'static str,
}

pub(super) static LATIN: &[Profile] = &[
    Profile {
        tag: "en",
        letters: "",
        words: "the of and to a in is it you that was for are with his they i this have from had not but what all were when we there \
                can an your which their said if will would how she he him her my me our out up about who been than its did do does \
                don't isn't it's i'm didn't can't please hello hi thanks yes very where why good morning at on as by be or so no \
                them then some could should must just like into over only also after before because now here",
    },
    Profile {
        tag: "de",
        letters: "äöüß",
        words: "der die das und ist nicht ein eine einen einem einer zu den dem des mit auf für sich von im es er sie ich wir ihr du \
                auch als an nach wie aus bei hat haben wird werden war waren sind aber nur noch oder wenn dass daß kann mehr über so \
                sehr schon hier wo was wer warum mein dein sein kein keine mich dich uns guten morgen tag hallo danke bitte ja nein \
                vom zum zur beim gegen durch heute",
    },
    Profile {
        tag: "fr",
        letters: "éèêëàâçùûîïôœæÿ",
        words: "le la les de des du un une et est en que qui dans pour pas sur au aux avec ce cette ces il elle ils elles je tu nous \
                vous on ne se sa son ses leur mais ou où plus par comme tout fait être avoir était sont ont suis avez bien très bonjour \
                merci oui non ça c'est j'ai qu'il d'un d'une l'on n'est s'il mon ma mes votre notre quand comment pourquoi sans sous \
                chez aussi même encore",
    },
    Profile {
        tag: "es",
        letters: "ñáéíóúü¿¡",
        words: "el la los las de del un una y es en que no se por con para su al lo como más pero sus le ya o este esta está sí porque \
                cuando muy sin sobre también me hasta hay donde quien desde todo nos durante uno ni contra ese eso ante ellos e esto mí \
                antes algunos qué unos yo otro ha era fue son estoy hola gracias buenos días cómo mi tu usted él ella dónde hoy aquí",
    },
    Profile {
        tag: "pt",
        letters: "ãõáéíóúâêôçàü",
        words: "o a os as de do da dos das um uma e é em que não se por com para no na nos nas ao à seu sua como mais mas foi ele ela \
                eles também já ou quando muito há está eu só pelo pela até isso entre depois sem mesmo aos seus quem me esse você \
                minha meu têm são tem ser obrigado olá bom dia onde porque aqui hoje estou vai bem fazer nossa nosso ontem",
    },
    Profile {
        tag: "it",
        letters: "àèéìòùî",
        words: "il lo la i gli le di del della dei delle un uno una e è in che non si per con da dal dalla nel nella a al alla ai sono \
                come più ma anche ha ho se mi ti ci vi questo questa quello quella suo sua loro cosa quando dove perché molto ciao \
                grazie buongiorno sì stai sto era essere fatto tutto tutti chi io tu lui lei noi voi sul sulla bene c'è oggi l'ha",
    },
    Profile {
        tag: "nl",
        letters: "ëïéóèö",
        words: "de het een en van is dat niet in te op zijn voor met die aan er om ook als maar bij dan nog uit wat door naar over \
                heeft hebben ik je hij zij ze wij we jij u mijn hun deze dit kan zal worden werd was waren geen wel veel meer hoe waar \
                waarom hallo dank goedemorgen ja nee goed gaat zo toen al tot onder",
    },
    Profile {
        tag: "sv",
        letters: "åäöé",
        words: "och att det som en på är av för med den till inte har de ett jag om han hon vi ni du men var sig så från kan när nu \
                eller också hur vad varför där här mycket mig dig min din hej tack god morgon ja nej skulle ska vara efter under bara \
                efter alla idag mycket måste",
    },
    Profile {
        tag: "da",
        letters: "æøåé",
        words: "og at det som en på er af for med den til ikke har de et jeg om han hun vi i du men var sig så fra kan når nu eller \
                også hvordan hvad hvorfor hvor her meget mig dig min din hej tak god morgen ja nej skulle skal være efter under kun \
                alle dag må blev nogle noget ud op mod",
    },
    Profile {
        tag: "nb",
        letters: "æøåéòô",
        words: "og at det som en på er av for med den til ikke har de et jeg om han hun vi i du men var seg så fra kan når nå eller \
                også hvordan hva hvorfor hvor her mye meg deg min din hei takk god morgen ja nei skulle skal være etter under bare \
                alle dag må ble noen noe ut opp mot",
    },
    Profile {
        tag: "fi",
        letters: "äöå",
        words: "ja on ei se että oli hän en mutta ovat minä sinä me te he kun niin kuin myös jos tai mitä missä miksi miten hyvää \
                huomenta päivää kiitos olen olet ole olla tämä tuo nyt vain sen sitten hyvin kanssa joka jotka mikä kuka vielä jo sitä \
                minun sinun hänen tänään onko eivät viime sitten kaikki koko enemmän missään hyvä asti",
    },
    Profile {
        tag: "pl",
        letters: "ąćęłńóśźż",
        words: "i w na z do nie się że jest to o jak za od po co ale czy tak już tylko był była było są przez dla przy ten ta te tego \
                jego jej ich my wy oni ja ty on ona mnie mi ci cię może gdzie kiedy dlaczego bardzo dzień dobry dziękuję proszę cześć \
                mam masz ma być pan pani wszystko jeszcze które który która",
    },
    Profile {
        tag: "cs",
        letters: "áčďéěíňóřšťúůýž",
        words: "a v na se je že to z do s o i jako za od po co ale tak už jen byl byla bylo jsou pro při ten ta te já ty on ona mi mě \
                tě může kde kdy proč velmi dobrý den děkuji prosím ahoj mám máš má být pan paní všechno ještě která který které jsem \
                jsi jsme není podle nebo jak",
    },
    Profile {
        tag: "sk",
        letters: "áäčďéíĺľňóôŕšťúýž",
        words: "a v na sa je že to z do s o i ako za od po čo ale tak už len bol bola bolo sú pre pri ten tá tie ja ty on ona mi ma \
                môže kde kedy prečo veľmi dobrý deň ďakujem prosím ahoj mám máš má byť pán pani všetko ešte ktorá ktorý ktoré som \
                si sme nie je podľa alebo",
    },
    Profile {
        tag: "hu",
        letters: "áéíóöőúüű",
        words: "a az és hogy nem is egy van volt ez azt de csak már meg még ha mint vagy mert én te ő mi ti ők itt ott hol mikor miért \
                nagyon jó napot köszönöm kérem szia igen lesz lehet kell minden után ki be fel el majd aki ami amely ezt ma",
    },
    Profile {
        tag: "ro",
        letters: "ăâîșțşţ",
        words: "și în de la cu pe nu că o un din este sunt a al ai ale pentru mai ce se să au fost sau dar când unde cum foarte bună \
                ziua mulțumesc da eu tu el ea noi voi ei lui care este-i mi îmi am ai are avem aveți după fără prin între astăzi către \
                acest această dimineața",
    },
    Profile {
        tag: "tr",
        letters: "çğıöşüâ",
        words: "ve bir bu da de için ile ne var yok çok daha gibi ama en kadar o ben sen biz siz onlar mi mı mu mü değil olarak olan \
                her sonra şey iyi günaydın merhaba teşekkür ederim evet hayır nasıl nerede neden kim benim senin şimdi bugün ki ya",
    },
    Profile {
        tag: "vi",
        letters: "ăâđêôơưàáảãạằắẳẵặầấẩẫậèéẻẽẹềếểễệìíỉĩịòóỏõọồốổỗộờớởỡợùúủũụừứửữựỳýỷỹỵ",
        words: "và của là có không được cho một các những trong với này đã người tôi bạn anh chị em ở đi đến từ rất cũng như khi nào \
                gì xin chào cảm ơn ngày hôm nay",
    },
    Profile {
        tag: "id",
        letters: "",
        words: "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena tersebut bisa ada mereka lebih kami \
                kita sudah atau saat oleh sebagai anda dia aku kamu apa mana kapan mengapa selamat pagi terima kasih sangat telah \
                adalah orang hari sedang belum",
    },
    Profile {
        tag: "hr",
        letters: "čćđšž",
        words: "i u na je se da za od su s a što to ne kao iz ili ali koji koja koje bio bila bilo smo ste sam si će bi po do samo \
                jer kako gdje kada zašto vrlo dobar dan hvala molim bok ovo ovaj ova još već sve nije nisu danas",
    },
    Profile {
        tag: "sl",
        letters: "čšž",
        words: "in v na je se da za od so s z a kaj to ne kot iz ali ki bil bila bilo smo ste sem si bo bi po do samo ker kako kje kdaj \
                zakaj zelo dober dan hvala prosim zdravo ta tega še že vse ni niso danes pri tudi",
    },
    Profile {
        tag: "lt",
        letters: "ąčęėįšųūž",
        words: "ir yra į kad su ne iš tai kaip bet apie ar aš tu jis ji mes jūs jie buvo labai labas ačiū prašau kur kada kodėl per po \
                už nuo tik dar jau šis ši gali būti mano tavo jo jos diena rytas šiandien",
    },
    Profile {
        tag: "lv",
        letters: "āčēģīķļņšūž",
        words: "un ir uz ka ar no tas kā bet par vai es tu viņš viņa mēs jūs viņi bija ļoti labdien paldies lūdzu kur kad kāpēc pēc \
                pie tikai vēl jau šis šī var būt mans tavs diena rīts nav šodien",
    },
    Profile {
        tag: "et",
        letters: "äöõüšž",
        words: "ja on ei see et oli ta aga ma sa me te nad kui nii ka või mis kus miks kuidas väga tere aitäh palun olen oled ole olla \
                nüüd ainult siis hästi koos kes veel juba minu sinu tema täna mida seda",
    },
    Profile {
        tag: "ca",
        letters: "àçèéíïòóúü",
        words: "el la els les de del un una i és en que no es per amb al ho com més però si aquest aquesta està molt també sense sobre \
                jo tu ell ella nosaltres són va ser bon dia gràcies on quan per què on hi ha he han hem meu meva meus meves seu seva seus seves dels avui aquí",
    },
    Profile {
        tag: "af",
        letters: "êëéôï",
        words: "die en van is dat nie in te op vir met aan om ook as maar by dan nog uit wat deur na oor het ek jy hy sy ons julle \
                hulle my hierdie kan sal word was baie meer hoe waar hoekom hallo dankie goeie môre ja nee goed gaan",
    },
    Profile {
        tag: "is",
        letters: "áðéíóúýþæö",
        words: "og að í er það á sem ekki við með til en var hann hún ég þú um fyrir eru af frá hvað hvar hvernig góðan daginn takk já \
                nei mjög þetta þessi hafa vera bara eða",
    },
    Profile {
        tag: "cy",
        letters: "âêîôûŵŷ",
        words: "y yr a ac yn i o ar mae am wedi ei eu ni chi fi hi nhw bod oedd gan gyda hefyd iawn bore da diolch beth ble pam sut \
                dydd roedd wrth mewn heddiw",
    },
    Profile {
        tag: "ga",
        letters: "áéíóú",
        words: "an na agus ar is i go a tá ní bhí sé sí mé tú muid sibh siad le do ag sa den don conas cad cá maidin maith raibh agat \
                seo sin inniu",
    },
    Profile {
        tag: "sq",
        letters: "ëç",
        words: "dhe të e i në një për me nga që është janë nuk si por kjo ky unë ti ai ajo ne ju ata çfarë ku kur pse shumë \
                mirëdita faleminderit po jo kam ka sot",
    },
    Profile {
        tag: "eo",
        letters: "ĉĝĥĵŝŭ",
        words: "la kaj de en estas ne mi vi li ŝi ni ili ke al por kun sed ĉu kio kie kiel tre bonan tagon dankon jes tio tiu el sur \
                estis hodiaŭ",
    },
    Profile {
        tag: "sw",
        letters: "",
        words: "na ya wa kwa ni katika la za cha kuwa hii huu mimi wewe yeye sisi ninyi wao habari asante sana nini wapi lini kwamba \
                hapana ndiyo lakini pia leo",
    },
    Profile {
        tag: "tl",
        letters: "",
        words: "ang ng sa na at ay mga hindi ako ikaw siya kami tayo kayo sila ito iyan may wala para kung ano saan kailan bakit \
                salamat po magandang umaga ngayon",
    },
    Profile {
        tag: "la",
        letters: "",
        words: "et in est non ad cum ut sed quod qui quae ex de si per ego tu nos vos sunt erat esse enim autem nec atque aut quoque \
                hic haec hoc",
    },
    Profile {
        tag: "az",
        letters: "əğıöşüç",
        words: "və bir bu da də üçün ilə nə var yox çox daha kimi amma mən sən biz siz onlar deyil olan sonra yaxşı salam necə harada \
                niyə bəli xeyr",
    },
];

/// Each word with the places in [`LATIN`] that list it.
static WORDS: LazyLock<HashMap<&'static str, Vec<u8>>> = LazyLock::new(|| {
    let mut words: HashMap<&str, Vec<u8>> = HashMap::new();
    for (place, profile) in LATIN.iter().enumerate() {
        for word in profile.words.split_whitespace() {
            let places = words.entry(word).or_default();
            if places.last() != Some(&(place as u8)) {
                places.push(place as u8);
            }
        }
    }
    words
});

/// Each letter beyond a-z with the places in [`LATIN`] that use it.
static LETTERS: LazyLock<HashMap<char, Vec<u8>>> = LazyLock::new(|| {
    let mut letters: HashMap<char, Vec<u8>> = HashMap::new();
    for (place, profile) in LATIN.iter().enumerate() {
        for letter in profile.letters.chars() {
            letters.entry(letter).or_default().push(place as u8);
        }
    }
    letters
});

/// The languages whose list holds this lower-case word, as places in [`LATIN`].
pub(super) fn languages_of_word(word: &str) -> &'static [u8] {
    WORDS.get(word).map_or(&[], Vec::as_slice)
}

/// The languages that spell with this lower-case letter, as places in [`LATIN`].
pub(super) fn languages_of_letter(letter: char) -> &'static [u8] {
    LETTERS.get(&letter).map_or(&[], Vec::as_slice)
}
