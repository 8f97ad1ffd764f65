//! Language detection on labelled sentences that were written for this test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use engine::text::{SplitConfig, detect, detect_among, split};

/// Tag and sentence.
const SENTENCES: &[(&str, &str)] = &[
    ("en", "Hello, how are you today?"),
    ("en", "The ferry leaves at noon and does not wait for anyone."),
    ("en", "Please close the window before the rain comes in."),
    ("en", "She counted the coins twice and found one missing."),
    ("en", "Thank you very much for your help!"),
    ("en", "My café bill was twelve dollars."),
    ("de", "Der Zug nach Hamburg hat heute zwanzig Minuten Verspätung."),
    ("de", "Guten Morgen, haben Sie gut geschlafen?"),
    ("de", "Ich habe meinen Schlüssel im Garten verloren."),
    ("de", "Wir treffen uns um acht vor dem Kino."),
    ("de", "Warum ist der Himmel eigentlich blau?"),
    ("fr", "Le boulanger ferme sa boutique le lundi."),
    ("fr", "Bonjour, comment allez-vous aujourd'hui ?"),
    ("fr", "Je n'ai pas encore lu cette lettre."),
    ("fr", "Les enfants jouent dans la cour de l'école."),
    ("fr", "Il fait trop froid pour sortir sans manteau."),
    ("es", "El barco salió del puerto antes del amanecer."),
    ("es", "¿Dónde está la estación de autobuses?"),
    ("es", "Mi abuela cocina los domingos para toda la familia."),
    ("es", "No tengo tiempo para hablar ahora."),
    ("es", "Gracias por venir a nuestra fiesta."),
    ("pt", "O menino correu até a praia com o cachorro."),
    ("pt", "Bom dia, você pode me ajudar?"),
    ("pt", "Não sei onde deixei as minhas chaves."),
    ("pt", "A chuva não parou durante a noite toda."),
    ("pt", "Obrigado pela sua paciência."),
    ("it", "Il treno per Milano parte dal binario sette."),
    ("it", "Ciao, come stai?"),
    ("it", "Vorrei un caffè e un bicchiere d'acqua, per favore."),
    ("it", "Non ho mai visto un mare così calmo."),
    ("it", "La finestra della cucina è rimasta aperta."),
    ("nl", "De kat slaapt de hele dag op de vensterbank."),
    ("nl", "Goedemorgen, hoe gaat het met je?"),
    ("nl", "Ik heb gisteren een nieuwe fiets gekocht."),
    ("nl", "Waar is het dichtstbijzijnde station?"),
    ("sv", "Vi åker till stugan så fort snön har smält."),
    ("sv", "God morgon, hur mår du idag?"),
    ("sv", "Jag har inte hunnit läsa boken ännu."),
    ("da", "Jeg ved ikke, hvad klokken er."),
    ("da", "Vi cyklede ud til havet efter aftensmaden."),
    ("da", "Hvor meget koster det her brød?"),
    ("nb", "Jeg vet ikke hva klokken er."),
    ("nb", "Vi gikk en tur i skogen etter middag."),
    ("nb", "Hvor mye koster dette brødet?"),
    ("fi", "Hyvää huomenta, mitä kuuluu?"),
    ("fi", "Järvi jäätyi viime yönä kokonaan."),
    ("fi", "En ole vielä lukenut tätä kirjaa."),
    ("pl", "Dzień dobry, jak się pan dzisiaj czuje?"),
    ("pl", "Pociąg do Krakowa odjeżdża o szóstej."),
    ("pl", "Nie wiem, gdzie są moje klucze."),
    ("cs", "Dobrý den, jak se dnes máte?"),
    ("cs", "Vlak do Brna odjíždí za pět minut."),
    ("cs", "Nevím, kde jsem nechal své klíče."),
    ("sk", "Dobrý deň, ako sa dnes máte?"),
    ("sk", "Neviem, kde som nechal svoje kľúče."),
    ("hu", "Jó reggelt, hogy aludtál az éjjel?"),
    ("hu", "Nem tudom, hol hagytam a kulcsaimat."),
    ("hu", "A vonat öt perc múlva indul Szegedre."),
    ("ro", "Bună dimineața, ce mai faceți astăzi?"),
    ("ro", "Nu știu unde mi-am lăsat cheile."),
    ("ro", "Trenul spre Cluj pleacă peste cinci minute."),
    ("tr", "Günaydın, bugün nasılsınız?"),
    ("tr", "Anahtarlarımı nereye bıraktığımı bilmiyorum."),
    ("tr", "Tren beş dakika sonra kalkıyor."),
    ("vi", "Xin chào, hôm nay bạn có khỏe không?"),
    ("vi", "Tôi không biết mình để chìa khóa ở đâu."),
    ("id", "Selamat pagi, apa kabar hari ini?"),
    ("id", "Saya tidak tahu di mana kunci rumah saya."),
    ("id", "Kereta itu akan berangkat lima menit lagi."),
    ("hr", "Dobar dan, kako ste danas?"),
    ("hr", "Ne znam gdje sam ostavio svoje ključeve."),
    ("sl", "Dober dan, kako ste danes?"),
    ("sl", "Ne vem, kje sem pustil svoje ključe."),
    ("lt", "Labas rytas, kaip jums šiandien sekasi?"),
    ("lv", "Labdien, kā jums šodien klājas?"),
    ("et", "Tere hommikust, kuidas teil täna läheb?"),
    ("ca", "Bon dia, com esteu avui?"),
    ("ca", "No sé on he deixat les meves claus."),
    ("ru", "Доброе утро, как вы себя чувствуете?"),
    ("ru", "Поезд на Казань уходит через пять минут."),
    ("ru", "Мама купила молоко и хлеб."),
    ("uk", "Доброго ранку, як ви сьогодні почуваєтесь?"),
    ("uk", "Поїзд до Львова відходить за п'ять хвилин."),
    ("uk", "Я не знаю, де мої ключі."),
    ("bg", "Добро утро, как сте днес?"),
    ("bg", "Не зная къде съм оставил ключовете си."),
    ("sr", "Добро јутро, како сте данас?"),
    ("el", "Καλημέρα, τι κάνετε σήμερα;"),
    ("el", "Δεν ξέρω πού άφησα τα κλειδιά μου."),
    ("he", "בוקר טוב, מה שלומך היום?"),
    ("ar", "صباح الخير، كيف حالك اليوم؟"),
    ("ar", "لا أعرف أين تركت مفاتيحي."),
    ("fa", "صبح بخیر، امروز حالتان چطور است؟"),
    ("fa", "نمی‌دانم کلیدهایم را کجا گذاشته‌ام."),
    ("ur", "صبح بخیر، آج آپ کیسے ہیں؟"),
    ("hi", "सुप्रभात, आज आप कैसे हैं?"),
    ("hi", "मुझे नहीं पता कि मेरी चाबियाँ कहाँ हैं।"),
    ("mr", "सुप्रभात, आज तुम्ही कसे आहात? मी मजेत आहे."),
    ("bn", "সুপ্রভাত, আজ আপনি কেমন আছেন?"),
    ("ta", "காலை வணக்கம், இன்று எப்படி இருக்கிறீர்கள்?"),
    ("te", "శుభోదయం, ఈ రోజు మీరు ఎలా ఉన్నారు?"),
    ("th", "สวัสดีตอนเช้า วันนี้คุณเป็นอย่างไรบ้าง"),
    ("ka", "დილა მშვიდობისა, როგორ ხართ დღეს?"),
    ("hy", "Բարի լույս, ինչպե՞ս եք այսօր:"),
    ("zh", "早上好，你今天怎么样？"),
    ("zh", "我不知道把钥匙放在哪里了。"),
    ("zh", "火車五分鐘後開。"),
    ("zh", "你好世界"),
    ("ja", "おはようございます、今日はお元気ですか。"),
    ("ja", "鍵をどこに置いたか分かりません。"),
    ("ja", "東京駅まで五分で着きます。"),
    ("ko", "좋은 아침입니다, 오늘 기분이 어떠세요?"),
    ("ko", "열쇠를 어디에 두었는지 모르겠어요."),
    ("ko", "기차"),
];

#[test]
fn labelled_sentences_are_found_in_their_language() {
    let mut by_language: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (tag, sentence) in SENTENCES {
        // The fallback is a language that no sentence is in, so that keeping it is always an error.
        let found = detect(sentence, "xx");
        let (right, all) = by_language.entry(tag).or_default();
        *all += 1;
        if found == *tag {
            *right += 1;
        } else {
            wrong.push(format!("{tag} taken for {found}: {sentence}"));
        }
    }
    let accuracy = 1.0 - wrong.len() as f64 / SENTENCES.len() as f64;
    println!("{} of {} right ({accuracy:.3}), {} languages", SENTENCES.len() - wrong.len(), SENTENCES.len(), by_language.len());
    println!("{}", wrong.join("\n"));
    assert!(SENTENCES.len() >= 60 && by_language.len() >= 20);
    assert!(accuracy >= 0.97, "{accuracy:.3}:\n{}", wrong.join("\n"));
    for major in ["en", "de", "fr", "es", "it", "pt", "ru", "zh", "ja", "ko", "ar", "hi"] {
        let (right, all) = by_language[major];
        assert_eq!(right, all, "{major}: {wrong:?}");
    }
}

/// Written after the detector was tuned on the list above, and shorter: headings, exclamations, lists of words.
const SHORT: &[(&str, &str)] = &[
    ("en", "Nobody knew what to say."),
    ("en", "It rained all week in Dublin."),
    ("en", "Turn left at the bridge."),
    ("en", "Fish, chips, vinegar, salt."),
    ("en", "Old maps lie."),
    ("en", "Sofia Martinez lives in San Diego."),
    ("en", "Come in, Jean-Pierre!"),
    ("en", "Chapter twelve: Autumn"),
    ("en", "His name was Müller."),
    ("en", "Restaurant prices rise again."),
    ("de", "Niemand wusste etwas."),
    ("de", "Kapitel zwölf: Herbst"),
    ("de", "Alte Karten lügen manchmal."),
    ("de", "Biegen Sie an der Brücke links ab."),
    ("de", "Das Internet funktioniert hier super."),
    ("de", "Komm rein, Jean-Pierre!"),
    ("de", "Milch, Brot, Butter und Eier."),
    ("fr", "Personne ne savait quoi dire."),
    ("fr", "Chapitre douze : automne"),
    ("fr", "Tournez à gauche au pont."),
    ("fr", "Du lait, du pain, des œufs."),
    ("fr", "Entrez donc, monsieur Miller !"),
    ("fr", "Quelle surprise magnifique !"),
    ("fr", "Tais-toi !  Écoute..."),
    ("es", "Nadie sabía qué decir."),
    ("es", "Capítulo doce: otoño"),
    ("es", "Gire a la izquierda en el puente."),
    ("es", "Leche, pan, mantequilla y huevos."),
    ("es", "Pase usted, señor Miller."),
    ("es", "Vamos a comer algo."),
    ("pt", "Ninguém sabia o que dizer."),
    ("pt", "Capítulo doze: outono"),
    ("pt", "Vire à esquerda na ponte."),
    ("pt", "Leite, pão, manteiga e ovos."),
    ("pt", "Entre, senhor Miller."),
    ("pt", "Vamos comer alguma coisa."),
    ("it", "Nessuno sapeva cosa dire."),
    ("it", "Capitolo dodici: autunno"),
    ("it", "Giri a sinistra al ponte."),
    ("it", "Latte, pane, burro e uova."),
    ("it", "Andiamo a mangiare qualcosa."),
    ("it", "Entri pure, signor Miller."),
    ("ru", "Никто не знал, что сказать."),
    ("ru", "Глава двенадцатая: осень"),
    ("ru", "Поверните налево у моста."),
    ("ru", "Пойдем или останемся при доме?"),
    ("nl", "Niemand wist wat te zeggen."),
    ("nl", "Sla linksaf bij de brug."),
    ("nl", "Melk, brood, boter en eieren."),
    ("sv", "Ingen visste vad de skulle säga."),
    ("sv", "Sväng vänster vid bron."),
    ("da", "Ingen vidste, hvad de skulle sige."),
    ("nb", "Ingen visste hva de skulle si."),
    ("fi", "Kukaan ei tiennyt mitä sanoa."),
    ("fi", "Käänny sillalta vasemmalle."),
    ("pl", "Nikt nie wiedział, co powiedzieć."),
    ("pl", "Skręć w lewo przy moście."),
    ("cs", "Nikdo nevěděl, co říct."),
    ("hu", "Senki sem tudta, mit mondjon."),
    ("ro", "Nimeni nu știa ce să spună."),
    ("tr", "Kimse ne diyeceğini bilmiyordu."),
    ("vi", "Không ai biết phải nói gì."),
    ("id", "Tidak ada yang tahu harus berkata apa."),
    ("uk", "Ніхто не знав, що сказати."),
    ("bg", "Никой не знаеше какво да каже."),
    ("el", "Κανείς δεν ήξερε τι να πει."),
    ("zh", "没人知道该说什么。"),
    ("ja", "誰も何を言えばいいか分からなかった。"),
    ("ko", "아무도 무슨 말을 해야 할지 몰랐다."),
    ("ar", "لم يعرف أحد ماذا يقول."),
    ("hi", "किसी को नहीं पता था क्या कहना है।"),
    ("ca", "Ningú no sabia què dir."),
    ("hr", "Nitko nije znao što reći."),
    ("sk", "Nikto nevedel, čo povedať."),
];

#[test]
fn short_sentences_are_mostly_right_and_never_switch_a_text_to_a_wrong_language() {
    let wrong: Vec<_> = SHORT.iter().filter(|(tag, sentence)| detect(sentence, "xx") != *tag).collect();
    let accuracy = 1.0 - wrong.len() as f64 / SHORT.len() as f64;
    println!("{} of {} right ({accuracy:.3})", SHORT.len() - wrong.len(), SHORT.len());
    assert!(accuracy >= 0.88, "{wrong:?}");
    let hosts =
        [("en", "The harbour was quiet and the boats were all in. "), ("de", "Der Hafen war still und alle Boote lagen vor Anker. ")];
    for (host, around) in hosts {
        for (tag, sentence) in SHORT {
            let text = format!("{around}{around}{sentence} {around}");
            let pieces = split(&text, &SplitConfig { min_chars: 0, ..SplitConfig::default() });
            for piece in pieces.iter().filter(|piece| sentence.contains(piece.text.as_str())) {
                assert!([*tag, host].contains(&piece.language.as_str()), "{} for {sentence}", piece.language);
            }
        }
    }
}

#[test]
fn a_sentence_is_not_pulled_away_by_the_language_before_it() {
    for (tag, sentence) in SENTENCES.iter().filter(|(tag, _)| ["en", "de", "fr", "es", "it", "pt", "ru", "zh", "ja", "ko"].contains(tag)) {
        for fallback in ["en", "de", "fr", "es", "it", "pt", "ru", "zh", "ko"] {
            assert_eq!(detect(sentence, fallback), *tag, "after {fallback}: {sentence}");
        }
    }
}

#[test]
fn too_little_text_keeps_the_fallback_as_it_was_given() {
    for text in ["", "   ", "...", "123", "OK", "Ja, ja.", "Hm?", "[pause:1s]", "https://example.com/les-enfants-jouent"] {
        assert_eq!(detect(text, "de-AT"), "de-AT", "{text:?}");
    }
    assert_eq!(detect("東京都", "ja"), "ja");
    assert_eq!(detect("The train leaves in five minutes.", "en-GB"), "en-GB");
    assert_eq!(detect("The train leaves in five minutes.", "fr-CA"), "en");
}

#[test]
fn scripts_are_weighed_in_mixed_text() {
    assert_eq!(detect("我昨天在 Microsoft 的网站上买了一台新的 Surface。", "en"), "zh");
    assert_eq!(detect("The restaurant is called 东方 and it is on the second floor.", "zh"), "en");
    assert_eq!(detect("新しい iPhone を買いました。", "en"), "ja");
    assert_eq!(detect("我喜欢优の良品的零食，你呢？我每天都吃很多。", "en"), "zh");
}

#[test]
fn only_allowed_languages_are_answered() {
    let allowed = ["fr-CA", "en-GB"];
    assert_eq!(detect_among("Je ne sais pas où sont mes clés.", &allowed, "en-GB"), "fr-CA");
    assert_eq!(detect_among("I do not know where my keys are.", &allowed, "fr-CA"), "en-GB");
    // Spanish is not on offer, Russian is not even in a script that is.
    assert!(allowed.contains(&detect_among("No tengo tiempo para hablar ahora.", &allowed, "en-GB").as_str()));
    assert_eq!(detect_among("Поезд на Казань уходит через пять минут.", &allowed, "en-GB"), "en-GB");
    assert_eq!(detect_among("東京駅まで五分で着きます。", &["zh", "en"], "en"), "zh");
    assert_eq!(detect_among("Доброго ранку, як ви сьогодні почуваєтесь?", &["ru"], "ru"), "ru");
    assert_eq!(detect_among("Hello there, my old friend.", &[], "fr"), "en");
}
