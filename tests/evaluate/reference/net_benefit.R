# Net benefit of a and of treating all, unit by unit from the definition of Vickers & Elkin (2006), in data.csv.
# Rscript net_benefit.R > net_benefit.json, in this folder.
suppressMessages(library(jsonlite))
d <- read.csv("data.csv")
thresholds <- c(0.05, 0.1, 0.2, 0.35, 0.5, 0.77)
worth <- function(treated, t) {
  gained <- 0
  for (i in seq_along(treated)) if (treated[i]) gained <- gained + if (d$y[i] == 1) 1 else -t / (1 - t)
  gained / length(treated)
}
model <- sapply(thresholds, function(t) worth(d$a >= t, t))
all <- sapply(thresholds, function(t) worth(rep(TRUE, nrow(d)), t))
cat(toJSON(list(source = "net_benefit.R: counted unit by unit", version = list(R = paste(R.version$major,
                R.version$minor, sep = ".")), threshold = thresholds, model = model, all = all,
                standardised = model / mean(d$y)), auto_unbox = TRUE, digits = NA, pretty = TRUE), "\n")
