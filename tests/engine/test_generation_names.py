from engine.generation.names import graft, learn_names, people, swap


def found(text, known=frozenset()):
    return [(p.name, p.gender) for p in people(text, known)]


def test_people_are_found_by_given_names_titles_speech_and_deeds():
    text = 'When Alice met Mr. Brown near Paris, Grubble had left. "Come," said Zork.'
    assert found(text) == [("Alice", "f"), ("Brown", "m"), ("Grubble", "?"), ("Zork", "?")]


def test_capitals_that_name_nobody_are_left_alone():
    assert found("The King went to England on Monday. He was glad. I was not. The French came.") == []


def test_one_person_by_several_names_is_one():
    (person,) = people("Jack Sheppard ran. Sheppard was quick, and nobody caught Jack.")
    assert person.words == {"Jack", "Sheppard"}
    assert [m.words for m in person.mentions] == [("Jack", "Sheppard"), ("Sheppard",), ("Jack",)]


def test_a_lone_person_of_unknown_name_takes_the_gender_of_the_pronouns():
    assert found('"No," said Grubble, and she shut the door.') == [("Grubble", "f")]
    assert found('"No," said Grubble, and she told him so.') == [("Grubble", "?")]


def test_swap_keeps_possessives_and_consistency():
    text = "Alice took Alice's hat from Tom."
    persons = people(text)
    assert swap(text, persons, {"Alice": "Mary", "Tom": "Ned"}) == "Mary took Mary's hat from Ned."
    assert (
        swap("\u201cTom\u2019s,\u201d said Tom.", people("\u201cTom\u2019s,\u201d said Tom."), {"Tom": "Ned"})
        == "\u201cNed\u2019s,\u201d said Ned."
    )


def test_graft_takes_the_last_named_of_the_same_gender_and_leaves_who_has_no_match():
    host = people("Hansel took Gretel by the hand. Gretel cried.")
    text = "Anna saw that Tom was gone, and Ned too."
    assert graft(text, people(text), host) == "Gretel saw that Hansel was gone, and Ned too."
    assert graft("The wolf came.", people("The wolf came."), host) == "The wolf came."


def test_graft_keeps_who_is_already_there():
    host = people("Hansel took Gretel by the hand.")
    text = "Gretel told Peter."
    assert graft(text, people(text), host) == "Gretel told Hansel."


def test_learned_names_are_those_that_act_not_places_nor_words():
    texts = ["So Grubble was here, and then Grubble said no in Norland."] * 3 + ["The road to Norland is long."] * 3
    assert learn_names(texts) == {"Grubble"}
    assert found("Then came Grubble.", learn_names(texts)) == [("Grubble", "?")]
    assert found("Then came Grubble.") == []
