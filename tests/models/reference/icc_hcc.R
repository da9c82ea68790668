# ICC2 of psych::ICC for every feature of two readings of 30 lesions (tables/hcc-mtm-radiomics, R#1_1 and R#1_2).
# Run: Rscript icc_hcc.R FOLDER > icc_hcc.json
suppressPackageStartupMessages({library(psych); library(jsonlite)})
folder <- commandArgs(trailingOnly = TRUE)[1]
read <- function(name) read.csv(file.path(folder, name), check.names = FALSE, fileEncoding = "UTF-8-BOM")
a <- read("R#1_1.csv"); b <- read("R#1_2.csv"); used <- setdiff(names(read("XY3A.csv")), "MTM")
low <- sapply(used, function(f) {
  found <- ICC(cbind(a[[f]], b[[f]]), lmer = FALSE)$results
  found[found$type == "ICC2", "lower bound"]
})
cat(toJSON(list(source = "psych::ICC, type ICC2, of Zachary2017/HCC-Radiomics2022 32255f01",
  versions = list(R = as.character(getRversion()), psych = as.character(packageVersion("psych"))),
  features = length(used), kept = sum(low >= 0.75, na.rm = TRUE), undefined = sum(is.na(low)),
  low = as.list(low[seq(1, length(used), by = 40)])), digits = 12, auto_unbox = TRUE, pretty = TRUE))
