print("x")
open("report.html","w").write("x")
