//! Language detection on labelled sentences that were written for this test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use engine::text::{detect, detect_among};

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
