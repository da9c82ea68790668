# Kaplan-Meier, numbers at risk and log-rank of the TCGA sarcomas by R survival: Rscript survival_tcga.R SARC.csv
# SARC.csv: columns subtype, time (days), event, as the fixture of test_survival_tcga.py makes them from
# TCGA-CDR_outcome.xlsx. Only summary numbers are stored, no patient's data.
library(survival)
library(jsonlite)

d <- read.csv(commandArgs(trailingOnly = TRUE)[1])
days <- c(0, 365, 1095, 1825)

summarise <- function(d) {
  fit <- survfit(Surv(time, event) ~ 1, data = d, conf.type = "log-log")
  s <- summary(fit, times = days, extend = TRUE)
  list(patients = nrow(d), events = sum(d$event), median = unname(summary(fit)$table["median"]), at_risk = s$n.risk,
       survival = s$surv, low = s$lower, high = s$upper)
}

test <- survdiff(Surv(time, event) ~ subtype, data = d)
mean <- summary(survfit(Surv(time, event) ~ 1, data = d), rmean = 1825)$table
content <- list(
  source = "TCGA-CDR (Liu et al. 2018), SARC, overall survival, by R survival: survfit (log-log), survdiff, rmean",
  versions = list(R = paste(R.version$major, R.version$minor, sep = "."), survival = as.character(packageVersion("survival"))),
  days = days, all = summarise(d), subtypes = lapply(split(d, d$subtype), summarise),
  log_rank = list(statistic = test$chisq, df = length(test$n) - 1), rmst = unname(mean["rmean"]),
  rmst_error = unname(mean["se(rmean)"]))
write(toJSON(content, digits = NA, auto_unbox = TRUE, pretty = 1, na = "null"), "survival_tcga.json")
